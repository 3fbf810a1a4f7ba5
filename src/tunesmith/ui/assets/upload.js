// Sends the files of a model to the API, from the disk and not through the page's memory. An upload goes on while other pages are looked at:
// it belongs to the tab. The page is drawn anew when it has ended, and shows the job.
const tab = (window.tunesmithUpload ??= { upload: null, watchers: new Set() });
const states = new WeakMap();
const warn = (event) => event.preventDefault();

function fill(words, facts) {
  return Object.entries(facts).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), words);
}

function showBytes(count) {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  const value = count / 1000 ** power;
  return `${value >= 100 || power === 0 ? Math.round(value) : value.toFixed(1)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

function showTime(seconds) {
  const whole = Math.ceil(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function isNeeded(file, endings) {
  return !file.name.startsWith(".") && (!file.name.includes(".") || endings.some((ending) => file.name.toLowerCase().endsWith(ending)));
}

// What is typed counts only once the page is drawn for it: a press that comes before waits for that.
function isSettled({ name }) {
  const typed = document.querySelector(".st-key-upload-name input");
  return !typed || typed.value.trim() === name;
}

function tellAll(ended = null) {
  for (const watcher of tab.watchers) watcher(ended);
}

function send(files, { address, lang, words }) {
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name);
  const request = new XMLHttpRequest();
  const upload = { request, done: 0, size: files.reduce((sum, file) => sum + file.size, 0), began: performance.now(), trouble: "" };
  const end = (trouble, job = null) => {
    window.removeEventListener("beforeunload", warn);
    tab.upload = trouble ? { ...upload, request: null, trouble } : null;
    tellAll(job);
  };
  request.upload.onprogress = (event) => {
    upload.done = Math.min(upload.size, event.loaded);
    tellAll();
  };
  request.onload = () => {
    let told = {};
    try {
      told = JSON.parse(request.responseText);
    } catch {
      // a proxy's own words
    }
    if (request.status === 202) end("", told.job);
    else end(told.error?.message ?? words.broken);
  };
  request.onerror = () => end(words.broken);
  request.onabort = () => end("");
  request.open("POST", address);
  request.setRequestHeader("Accept-Language", lang);
  tab.upload = upload;
  window.addEventListener("beforeunload", warn);
  request.send(form);
  tellAll();
}

function draw(root, state) {
  const { data, files } = state, { words } = data, upload = tab.upload;
  const going = Boolean(upload?.request), size = files.reduce((sum, file) => sum + file.size, 0), large = size > data.most_bytes;
  const [label, chosen, bar, trouble, start, cancel] = root.children, [input, choose] = label.children;
  choose.textContent = words.choose;
  label.hidden = going;
  input.disabled = data.locked || going;
  start.textContent = words.send;
  start.hidden = going;
  start.disabled = data.locked || !files.length || large;
  cancel.textContent = words.cancel;
  cancel.hidden = bar.hidden = !going;
  if (going) {
    const share = upload.size ? upload.done / upload.size : 0, seconds = (performance.now() - upload.began) / 1000;
    bar.setAttribute("aria-valuenow", Math.round(100 * share));
    bar.firstElementChild.style.width = `${100 * share}%`;
    const left = share > 0.02 ? showTime((seconds / share) * (1 - share)) : "…";
    chosen.textContent = fill(words.sending, { done: showBytes(upload.done), size: showBytes(upload.size), time: left });
  } else {
    const lines = files.length ? [fill(words.chosen, { n: files.length, size: showBytes(size) })] : [];
    if (state.left.length) lines.push(fill(words.passed_over, { names: state.left.map((file) => file.name).join(", ") }));
    chosen.textContent = lines.join("\n");
  }
  trouble.textContent = large ? words.too_large : (upload?.trouble ?? "");
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".tunesmith-upload");
  let state = states.get(parentElement);
  if (!state) {
    state = { files: [], left: [] };
    states.set(parentElement, state);
    const [label, , , , start, cancel] = root.children, [input] = label.children;
    state.watch = (job) => {
      if (job) {
        state.files = state.left = [];
        input.value = "";
        state.tell("job", job);
      }
      draw(root, state);
    };
    input.accept = data.endings.join(",");
    input.onchange = () => {
      const all = [...input.files];
      state.files = all.filter((file) => isNeeded(file, state.data.endings));
      state.left = all.filter((file) => !state.files.includes(file));
      if (!tab.upload?.request) tab.upload = null;
      draw(root, state);
    };
    start.onclick = () => {
      if (isSettled(state.data)) send(state.files, state.data);
      else state.waits = true;
    };
    cancel.onclick = () => tab.upload?.request?.abort();
  }
  Object.assign(state, { data, tell: setTriggerValue });
  tab.watchers.add(state.watch);
  draw(root, state);
  if (state.waits && isSettled(data)) {
    state.waits = false;
    if (!data.locked) send(state.files, data);
  }
  return () => tab.watchers.delete(state.watch);
}
