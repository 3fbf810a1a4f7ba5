// A run's figures. The element with an address asks it and tells all of the page; each draws its part, and has the page, or the fragment that
// it stands in, drawn anew by the server when that shows what is no longer so: its marks differ.
const states = new WeakMap();
const NEWS = "tunesmith-run";
const GONE = { stage: "gone", queue: "gone" };
const COLOURS = { good: ["green", "check_circle"], note: ["blue", "info"], bad: ["red", "warning"], waiting: ["blue", "hourglass_empty"], warning: ["orange", "warning"] };

function make(tag, name, words = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = words;
  return element;
}

function makeIcon(name, colour = "") {
  const icon = make("span", "icon", name);
  icon.ariaHidden = "true";
  icon.translate = false;
  if (colour) icon.style.color = `var(--st-${colour}-color)`;
  return icon;
}

function paint(element, colour) {
  element.style.backgroundColor = `var(--st-${colour}-background-color)`;
  element.style.color = `var(--st-${colour}-text-color)`;
}

// What has not changed is left alone: selections stay, and a reader of the screen says nothing twice.
function renew(element, value, fill) {
  const shown = JSON.stringify(value);
  if (element.dataset.shown === shown) return;
  element.dataset.shown = shown;
  fill(element, value);
}

function part(root, tag, name, facts = {}) {
  const found = root.querySelector(`.${name}`) ?? root.appendChild(make(tag, name));
  for (const [fact, value] of Object.entries(facts)) if (found.getAttribute(fact) !== String(value)) found.setAttribute(fact, value);
  return found;
}

function drawHead(root, figures, looks) {
  const head = part(root, "div", "head");
  renew(part(head, "span", "status", { role: "status" }), [figures.status, figures.status_words], (status, [name, words]) => {
    const [colour, icon] = looks[name];
    paint(status, colour);
    status.replaceChildren(makeIcon(icon), ` ${words}`);
  });
  renew(part(head, "span", "line"), figures.line, (line, words) => (line.textContent = words));
}

function drawBody(root, figures, label) {
  const body = part(root, "div", "body");
  const percent = Math.round(100 * figures.progress);
  const bar = part(body, "div", "bar", {
    role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": percent, "aria-valuetext": figures.progress_words,
  });
  part(bar, "div", "done").style.width = `${100 * figures.progress}%`;
  renew(part(body, "div", "notes", { "aria-live": "polite" }), figures.notes, (notes, all) => {
    notes.replaceChildren(...all.map(([mood, words]) => {
      const note = make("p", `note ${mood}`, mood === "plain" ? words : "");
      if (mood !== "plain") {
        paint(note, COLOURS[mood][0]);
        note.append(makeIcon(COLOURS[mood][1]), make("span", "", words));
      }
      return note;
    }));
  });
  const tiles = part(body, "dl", "tiles");
  renew(tiles, figures.tiles.map(([name]) => name), (all, names) => {
    all.replaceChildren(...names.map((name) => {
      const tile = make("div", "tile");
      tile.append(make("dt", "", name), make("dd", "value"), make("dd", "more"));
      return tile;
    }));
  });
  figures.tiles.forEach(([, value, more], n) => {
    renew(tiles.children[n].querySelector(".value"), value, (cell, words) => (cell.textContent = words));
    renew(tiles.children[n].querySelector(".more"), more, (cell, words) => (cell.textContent = words));
  });
  if (!figures.signs) return;
  renew(part(body, "section", "signs", { "aria-live": "polite" }), figures.signs, (signs, { title, said }) => {
    signs.replaceChildren(make("h5", "", title), ...said.map(([mood, words]) => {
      const line = make("p", "");
      line.append(makeIcon(COLOURS[mood][1], COLOURS[mood][0]), ` ${words}`);
      return line;
    }));
  });
}

function draw(state, figures) {
  const { root, data } = state;
  if (data.show === "head") drawHead(root, figures, data.looks);
  if (data.show === "body") drawBody(root, figures, data.label);
}

// While a page is drawn or left, nothing is asked: the answer would take the place of what is just drawn.
const isBusy = () => document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "running";

// The server is asked not by all viewers at once, and at most once in `every_ms` by each.
function compare(state, news) {
  const isOld = () => Object.entries(state.data.marks).some(([mark, value]) => mark in news.marks && news.marks[mark] !== value);
  if (state.timer || !isOld()) return;
  const wait = Math.max(0, (state.asked ?? -Infinity) + state.data.every_ms - performance.now()) + Math.random() * news.spread_ms;
  state.timer = setTimeout(() => {
    state.timer = null;
    if (!state.alive || isBusy() || !isOld()) return; // busy: compared again with the next news
    state.asked = performance.now();
    state.renew("renew", state.asked);
  }, wait);
}

function tell(run, news) {
  document.dispatchEvent(new CustomEvent(NEWS, { detail: { run, news } }));
}

async function poll(state) {
  clearTimeout(state.next);
  const { address, run, active } = state.data;
  if (!state.alive || !address || !active) return;
  const turn = (state.turn = (state.turn ?? 0) + 1);
  let wait = 3000; // while the server restarts
  try {
    window.tunesmithViewer ??= Math.random().toString(36).slice(2);
    const reply = await fetch(`${address}${address.includes("?") ? "&" : "?"}viewer=${window.tunesmithViewer}`);
    if (turn !== state.turn || !state.alive) return;
    const every = Number(reply.headers.get("x-every-ms")), spread_ms = Number(reply.headers.get("x-spread-ms"));
    if (reply.status === 200) {
      tell(run, { ...(await reply.json()), spread_ms });
      wait = Math.max(every, document.hidden ? 5000 : 0);
    } else if (reply.status === 404 || reply.status === 401) tell(run, { marks: GONE, spread_ms: 0 }); // the page says why
    else if (reply.status < 500) return;
  } catch {
    // asked again
  }
  if (state.alive && turn === state.turn) state.next = setTimeout(() => poll(state), wait);
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let state = states.get(parentElement);
  if (!state) {
    state = {
      hear: ({ detail: { run, news } }) => {
        if (run !== state.data.run) return;
        if (news.tiles) draw(state, news);
        compare(state, news);
      },
      look: () => document.hidden || poll(state),
    };
    states.set(parentElement, state);
    document.addEventListener(NEWS, state.hear);
    document.addEventListener("visibilitychange", state.look);
  }
  const other = state.data?.run !== data.run;
  Object.assign(state, { data, root: parentElement.querySelector(".tunesmith-figures"), renew: setTriggerValue, alive: true });
  if (other) state.root.replaceChildren();
  if (data.figures) draw(state, data.figures);
  poll(state);
  return () => {
    state.alive = false;
    clearTimeout(state.next);
    clearTimeout(state.timer);
    document.removeEventListener(NEWS, state.hear);
    document.removeEventListener("visibilitychange", state.look);
    states.delete(parentElement);
  };
}
