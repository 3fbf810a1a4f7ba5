"""Addresses, names, redirects that want to lead elsewhere, and honest ones; `{honest}` and `{canary}` are ports. No test is here."""

from __future__ import annotations

HOSTS = ("127.0.0.1:{honest}", "localhost:{honest}", "judge.example", "judge.lan=127.0.0.1", "ジャッジ.example=127.0.0.1", "[::1]:{honest}")
TRICKS = (
    # the canary by its numbers
    "http://127.0.0.1:{canary}", "http://127.0.0.1:{canary}/v1", "http://127.0.0.2:{canary}", "http://[::1]:{canary}",
    "http://127.1:{canary}",
    "http://127.0.1:{canary}", "http://2130706433:{canary}", "http://0x7f000001:{canary}", "http://0X7F000001:{canary}",
    "http://0x7f.1:{canary}",
    "http://0x7f.0x0.0x0.0x1:{canary}", "http://0177.0.0.1:{canary}", "http://017700000001:{canary}", "http://127.0.0.01:{canary}",
    "http://127.0.0.1.:{canary}", "http://127.0.0.1..:{canary}", "http://0:{canary}", "http://0.0.0.0:{canary}", "http://[::]:{canary}",
    "http://[::ffff:127.0.0.1]:{canary}", "http://[::ffff:7f00:1]:{canary}", "http://[::127.0.0.1]:{canary}",
    "http://[0:0:0:0:0:0:0:1]:{canary}",
    "http://[64:ff9b::7f00:1]:{canary}", "http://[2002:7f00:1::]:{canary}", "http://[::1%25lo]:{canary}", "http://[::1%lo]:{canary}",
    "http://[127.0.0.1]:{canary}", "http://127.0.0.1.256:{canary}", "http://4294967297:{canary}",
    # by names
    "http://localhost:{canary}", "http://LOCALHOST:{canary}", "http://localhost.:{canary}", "http://localhost..:{canary}",
    "http://localhost.example:{canary}", "http://127.0.0.1.nip.io:{canary}", "http://judge.example.evil.example:{canary}",
    "http://judge.example.127.0.0.1.nip.io:{canary}", "http://judge-example:{canary}", "http://judge.example-evil.example:{canary}",
    "http://evil.judge.example:{canary}", "http://judge\u3002evil:{canary}", "http://judge.exampl\u0435:{canary}",
    "http://-judge.example:{canary}",
    # in other scripts and with what is not seen
    "http://１２７.０.０.１:{canary}", "http://127。0。0。1:{canary}", "http://①②⑦.⓪.⓪.①:{canary}", "http://ｌｏｃａｌｈｏｓｔ:{canary}",
    "http://loc\u00adalhost:{canary}", "http://loc\u200balhost:{canary}", "http://\u202e127.0.0.1:{canary}",
    "http://127.0.0.1\u2028:{canary}",
    "http://127.0.0.1\u3000:{canary}", "http://127.0.0.1\u00a0:{canary}", "http://127.0.0.1\t:{canary}", "ht\ttp://127.0.0.1:{canary}",
    "http://127.0.0.1:{canary}\x00", "http://127.0.0.1\x00.judge.example:{canary}", "http://judge.example:８０@127.0.0.1:{canary}",
    # what one reader takes for the host and another does not
    "http://judge.example@127.0.0.1:{canary}", "http://judge.example:80@127.0.0.1:{canary}/",
    "http://127.0.0.1:{honest}@127.0.0.1:{canary}/",
    "http://a:b@127.0.0.1:{honest}", "http://@127.0.0.1:{canary}", "http://127.0.0.1:{canary}\\@judge.example/",
    "http://judge.example\\@127.0.0.1:{canary}/", "http://127.0.0.1:{honest}\\@127.0.0.1:{canary}/", "http:\\\\127.0.0.1:{canary}",
    "http://127.0.0.1:{canary}#@judge.example/", "http://judge.example#@127.0.0.1:{canary}/", "http://judge.example?@127.0.0.1:{canary}/",
    "http://judge.example;@127.0.0.1:{canary}/", "http://judge.example,127.0.0.1:{canary}/", "http://127.0.0.1:{honest}:{canary}/",
    "http://127.0.0.1:{honest},{canary}/", "http://127.0.0.1:{honest} @127.0.0.1:{canary}/",
    "http://127.0.0.1:{honest}&@127.0.0.1:{canary}/",
    "http://judge.example%00@127.0.0.1:{canary}", "http://127.0.0.1%00:{canary}", "http://127.0.0.1%2e:{canary}",
    "http://127%2e0%2e0%2e1:{canary}",
    "http://%31%32%37.0.0.1:{canary}", "http://127.0.0.1%3a{canary}", "http://127.0.0.1:{honest}%40127.0.0.1:{canary}/",
    "http://[::1]@127.0.0.1:{canary}", "http://[::1]127.0.0.1:{canary}", "http://[judge.example]:{canary}",
    "http://[::1]:{honest}]:{canary}",
    # the form
    "http:///127.0.0.1:{canary}/", "http:////127.0.0.1:{canary}", "//127.0.0.1:{canary}/", "http:127.0.0.1:{canary}",
    "http:/127.0.0.1:{canary}",
    "127.0.0.1:{canary}", "localhost:{canary}", ":{canary}", "http://:{canary}", "http://", "http:", "", "   ", "/",
    "http://?127.0.0.1:{canary}",
    "http://127.0.0.1:0", "http://127.0.0.1:65536", "http://127.0.0.1:-1", "http://127.0.0.1:+{canary}", "http://127.0.0.1: {canary}",
    "http://127.0.0.1:0{canary}", "http://127.0.0.1:{canary}a", "http://127.0.0.1:１{canary}", "http://127.0.0.1:99999999999999999999",
    "http://{long}:{canary}", "http://judge.example/{long}", "http://127.0.0.1:{canary}/{long}", "http://{labels}example:{canary}",
    "http://127.0.0.1:{honest}/../..//127.0.0.1:{canary}", "http://127.0.0.1:{honest}/?url=http://127.0.0.1:{canary}",
    "http://127.0.0.1:{honest}/%2e%2e/", "http://127.0.0.1:{honest}/#/v1",
    # other ways
    "gopher://127.0.0.1:{canary}/_GET", "ftp://127.0.0.1:{canary}/", "file:///etc/passwd", "file://127.0.0.1:{canary}/",
    "ws://127.0.0.1:{canary}",
    "dict://127.0.0.1:{canary}/", "ldap://127.0.0.1:{canary}", "unix:/tmp/x", "http+unix://%2ftmp%2fx", "javascript:1", "data:,x",
    "jar:http://127.0.0.1:{canary}!/", "httpx://127.0.0.1:{canary}", "http://http://127.0.0.1:{canary}", "url:http://127.0.0.1:{canary}",
    # more headers
    "http://127.0.0.1:{honest}\r\nHost: 127.0.0.1:{canary}", "http://127.0.0.1:{honest}/\r\n\r\nGET / HTTP/1.1",
    "http://127.0.0.1:{honest}/ HTTP/1.1\r\nX: y",
    "http://127.0.0.1:{honest}\n@127.0.0.1:{canary}",
)  # fmt: skip
HONEST = (
    ("http://127.0.0.1:{honest}", "127.0.0.1"), ("http://127.0.0.1:{honest}/v1", "127.0.0.1"),
    ("http://127.0.0.1:{honest}/v1/", "127.0.0.1"),
    ("HTTP://127.0.0.1:{honest}/v1", "127.0.0.1"), (" http://127.0.0.1:{honest}/v1\n", "127.0.0.1"),
    ("http://LocalHost:{honest}", "localhost"), ("http://localhost.:{honest}/v1", "localhost"),
    ("http://１２７.０.０.１:{honest}/v1", "127.0.0.1"), ("http://[::1]:{honest}/v1", "[::1]"), ("http://[0::1]:{honest}/v1", "[::1]"),
    ("http://judge.lan:{honest}/a/b_c~d/v1", "judge.lan"), ("http://Judge.LAN.:{honest}", "judge.lan"),
    ("http://ジャッジ.example:{honest}/v1", "xn--ycka6a5i.example"),
)  # fmt: skip
INSIDE = (
    ["127.0.0.1"], ["127.0.0.2"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"], ["::"], ["10.0.0.1"], ["172.31.0.1"], ["192.168.1.5"],
    ["100.64.0.1"], ["169.254.169.254"], ["169.254.1.1"], ["fd00:ec2::254"], ["fd12::1"], ["fe80::1"], ["fe80::1%lo"], ["64:ff9b::7f00:1"],
    ["64:ff9b::a9fe:a9fe"], ["2002:7f00:1::"], ["::7f00:1"], ["224.0.0.1"], ["ff02::1"], ["255.255.255.255"], ["240.0.0.1"], ["198.18.0.1"],
    ["93.184.215.14", "127.0.0.1"], ["127.0.0.1", "93.184.215.14"], ["2606:4700::1111", "::1"], ["93.184.215.14", "10.0.0.1", "1.1.1.1"],
)  # fmt: skip
LOCATIONS = (
    "http://127.0.0.1:{canary}/", "http://127.0.0.2:{canary}/", "http://[::1]:{canary}/", "//127.0.0.1:{canary}/",
    "https://127.0.0.1:{canary}/",
    "http://localhost:{canary}/v1", "http://judge.example@127.0.0.1:{canary}/", "/elsewhere", "?x", "\\\\127.0.0.1:{canary}",
    "gopher://127.0.0.1:{canary}/",
    "file:///etc/passwd", "",
)  # fmt: skip
