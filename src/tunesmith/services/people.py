"""Who may come in and who is here: codes, tokens of programs, the identity provider, visits. All of it is an admin's."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.access.codes import AccessFile
from tunesmith.access.people import ADMIN, ROLES, Person, clean_name
from tunesmith.access.provider import Provider, ProviderFile
from tunesmith.access.visits import Visit, Visits
from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.services.rights import needs


@dataclass(frozen=True)
class Ways:
    """The ways in: programs with a token (name and role of each), and the identity provider if there is one."""

    programs: list[Person]
    provider: Provider | None


@needs(ADMIN, noted=False)
def ways_in(s: Services) -> Ways:
    """Return the ways in, without codes and tokens. Raises UserError `secrets_readable_by_others`, `store_file_unreadable`."""
    del s
    programs = dict.fromkeys(AccessFile().open().tokens.values())
    return Ways(sorted(programs, key=lambda person: person.name.casefold()), ProviderFile().open())


@needs(ADMIN)
def reveal_code(s: Services, role: str) -> str:
    """Return a role's code. Raises UserError `setting_choice`."""
    del s
    return AccessFile().open().codes[_checked(role)]


@needs(ADMIN)
def change_code(s: Services, role: str, code: str) -> None:
    """Give a role another code; everybody enters again. Raises UserError `setting_choice`, `passphrase_short`, `passphrase_taken`."""
    del s
    AccessFile().choose(_checked(role), code)


@needs(ADMIN)
def add_token(s: Services, name: str, role: str) -> str:
    """Return a new token for a program, which is kept nowhere. Raises UserError `name_empty`, `name_too_long`, `setting_choice`."""
    del s
    return AccessFile().add_token(Person(clean_name(name), _checked(role)))


@needs(ADMIN)
def drop_tokens(s: Services, name: str) -> int:
    """Make a program's tokens worthless and return how many there were."""
    del s
    return AccessFile().drop_tokens(name)


@needs(ADMIN)
def keep_provider(s: Services, provider: Provider) -> None:
    """Sign people in by a provider; everybody enters again. Raises UserError `oidc_…`, `setting_choice`."""
    del s
    ProviderFile().keep(provider)


@needs(ADMIN)
def remove_provider(s: Services) -> bool:
    """Forget the provider and return whether there was one; everybody enters again."""
    del s
    return ProviderFile().remove()


@needs(ADMIN, noted=False)
def who_is_here(s: Services, visits: Visits) -> list[Visit]:
    """Return who has a page open or asked within the last minutes, the last one first."""
    del s
    return visits.here()


def _checked(role: str) -> str:
    if role not in ROLES:
        raise UserError("setting_choice", field="role", value=role, choices=", ".join(ROLES))
    return role
