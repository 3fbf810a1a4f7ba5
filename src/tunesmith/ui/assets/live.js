// A grid of live curves, its panels told by the route. Polls its route, draws with Plotly.react and a fixed uirevision, so zoom survives new points.
const states = new WeakMap();
let loading = null;

function loadPlotly(address) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = (error) => {
      loading = null; // the server restarts: the next poll tries again
      reject(error);
    };
    document.head.appendChild(script);
  });
  return loading;
}

// uint32 header length, JSON header, then float32 x[n] and y[n] of each series.
function decode(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  let offset = 4 + size;
  const series = {};
  for (const { name, length, ...facts } of header.series) {
    const values = new Float32Array(buffer, offset, 2 * length);
    series[name] = { ...facts, x: values.subarray(0, length), y: values.subarray(length) };
    offset += 8 * length;
  }
  return { ...header, series };
}

// The panels' places as shares of the plot, row by row: [left, right, bottom, top].
function layOut(count, columns) {
  const rows = Math.ceil(count / columns), height = 1 / rows;
  return Array.from({ length: count }, (_, i) => {
    const column = i % columns, row = Math.floor(i / columns);
    const left = columns === 1 ? 0 : column * 0.54, top = 1 - row * height;
    return [left, columns === 1 ? 1 : left + 0.46, top - height + 0.1 * height, top - 0.14 * height];
  });
}

// One method's run: a colour for each metric of a panel, a legend in each panel that has several.
function linesOfRun(state, panel, n, palette, next) {
  return panel.series.map((name, order) => {
    const { x, y } = state.latest.series[name];
    return {
      mode: x.length < 40 ? "lines+markers" : "lines", name: state.data.words[name] ?? name.split("/").pop(), x, y,
      showlegend: panel.series.length > 1 || panel.name === "functions",
      legend: "legend" + n, line: { color: palette[(panel.series.length > 1 ? order : next) % palette.length], width: 2 }, marker: { size: 4 },
    };
  });
}

// Several runs: a colour for each run, one legend for all panels; held-out values are points, an unsmoothed line is faint behind its smoothed one.
function linesOfRuns(state, panel, named, longest) {
  const crowded = Object.keys(state.data.runs).length > 8;
  const some = panel.series.some((name) => !state.latest.series[name].held_out);
  return panel.series.map((name) => {
    const { x, y, run, held_out: heldOut, raw } = state.latest.series[name];
    const { name: words, colour } = state.data.runs[run];
    const common = { x, y, uid: name, legendgroup: run, name: asText(shorten(words, longest)), line: { color: colour, width: 2 } };
    if (raw) return { ...common, mode: "lines", opacity: crowded ? 0.12 : 0.25, hoverinfo: "skip", showlegend: false };
    const showlegend = !named.has(run);
    named.add(run);
    if (!heldOut) return { ...common, mode: x.length < 3 ? "lines+markers" : "lines", hovertemplate: "%{y:.4g}", showlegend };
    return {
      ...common, name: `${common.name} · ${asText(state.data.words.held_out)}`, mode: "lines+markers", showlegend,
      marker: { size: 8, color: colour, symbol: "diamond", line: { color: "rgba(255,255,255,0.8)", width: 1 } },
      line: { color: colour, width: 1, dash: "dot" }, hovertemplate: "%{y:.4g} (%{x:.4~g})", // with its place: such rows are measured at few
      ...(crowded && some ? { hoverinfo: "skip", hovertemplate: "" } : {}),
    };
  });
}

// Names are people's own: Plotly would read tags in them.
function asText(words) {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function shorten(words, longest) {
  return words.length > longest ? `${words.slice(0, longest - 9)}…${words.slice(-8)}` : words;
}

function draw(state) {
  const { root, data, latest, Plotly } = state;
  const plot = root.querySelector(".plot");
  const empty = root.querySelector(".empty");
  const some = Object.values(latest.series).some((s) => s.x.length);
  plot.hidden = !some;
  empty.hidden = some;
  if (!some) return;
  const style = getComputedStyle(root);
  const colour = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  const palette = colour("--st-chart-categorical-colors", "#3556c9,#d9772b,#2a9d74,#b5468b").split(",");
  const text = colour("--st-text-color", "#1c2333");
  const grid = colour("--st-border-color", "#d9deea");
  const panels = latest.panels.filter((panel) => panel.series.some((name) => latest.series[name].x.length));
  const narrow = root.clientWidth < 640;
  const columns = narrow || (data.runs && panels.length === 1) ? 1 : 2;
  const places = layOut(panels.length, columns);
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, tickfont: { size: 11 } };
  const traces = [];
  const layout = {
    uirevision: "keep", height: (narrow ? 225 : 280) * Math.ceil(panels.length / columns), margin: { l: 48, r: 12, t: 8, b: 40 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text, family: colour("--st-font", "sans-serif") },
    hovermode: "x unified", showlegend: true, annotations: [], modebar: { bgcolor: "rgba(0,0,0,0)", color: grid, activecolor: text },
    hoverlabel: { bgcolor: colour("--st-secondary-background-color", "#f0f2f8"), font: { color: text } },
  };
  let next = 0;
  const named = new Set();
  panels.forEach((panel, index) => {
    const n = index ? String(index + 1) : "";
    const [left, right, bottom, top] = places[index];
    const lines = data.runs ? linesOfRuns(state, panel, named, narrow ? 24 : 30) : linesOfRun(state, panel, n, palette, next);
    traces.push(...lines.map((line) => ({ type: "scatter", xaxis: "x" + n, yaxis: "y" + n, ...line })));
    next += panel.series.length;
    const lowest = index >= panels.length - columns;
    layout["xaxis" + n] = {
      ...axis, domain: [left, right], anchor: "y" + n, rangemode: "tozero",
      title: lowest ? { text: data.words.step, font: { size: 12 }, standoff: 6 } : undefined,
    };
    layout["yaxis" + n] = { ...axis, domain: [bottom, top], anchor: "x" + n, rangemode: panel.from_zero ? "tozero" : "normal" };
    if (panel.name === "learning_rate") layout["yaxis" + n].exponentformat = "e";
    const canBeLog = data.runs ? panel.series.every((name) => latest.series[name].y.every((value) => value > 0)) : panel.name === "loss";
    if (canBeLog) layout["yaxis" + n].type = root.querySelector(".log").checked ? "log" : "linear";
    if (data.runs) layout["xaxis" + n].uirevision = layout["yaxis" + n].uirevision = `${data.axis} ${panel.name}`; // another plot, another zoom
    layout["legend" + n] = {
      x: right, y: top, xanchor: "right", yanchor: "top", bgcolor: colour("--st-background-color", "rgba(255,255,255,0.7)"), font: { size: 11 },
    };
    layout.annotations.push({
      text: `<b>${data.words["panel_" + panel.name]}</b>`, x: left, y: top, xref: "paper", yref: "paper", showarrow: false,
      xanchor: "left", yanchor: "bottom", yshift: 3, font: { size: 13, color: text },
    });
  });
  if (data.runs) {
    if (columns === 1 && !narrow) layout.height = 420;
    layout.legend = narrow ? { orientation: "h", y: -0.15 } : { x: 1.02, y: 1 - 36 / layout.height }; // below the buttons
    layout.hoverdistance = 30;
    layout.hoverlabel.namelength = -1;
    if (Object.keys(data.runs).length > 8) layout.hoverlabel.font.size = 10;
  }
  root.querySelector(".log").closest("label").hidden = !data.runs && !panels.some((panel) => panel.name === "loss");
  plot.style.height = `${layout.height}px`;
  Plotly.react(plot, traces, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "sendChartToCloud"], plotlyServerURL: "" });
}

async function poll(state) {
  if (!state.alive) return;
  const turn = (state.turn = (state.turn ?? 0) + 1); // whoever asks later, as for another smoothing, takes over
  let wait = document.hidden ? 5000 : state.data.every_ms;
  try {
    state.Plotly ??= await loadPlotly(state.data.plotly);
    window.tunesmithViewer ??= Math.random().toString(36).slice(2);
    const { address } = state.data, smoothing = state.root.querySelector(".smoothing").value;
    const asked = `since=${state.rev}&smoothing=${smoothing}&viewer=${window.tunesmithViewer}`;
    const reply = await fetch(`${address}${address.includes("?") ? "&" : "?"}${asked}`);
    wait = Math.max(wait, Number(reply.headers.get("x-every-ms"))); // many look on
    const body = reply.status === 200 ? await reply.arrayBuffer() : null;
    if (turn !== state.turn || !state.alive) return;
    if (body) {
      state.latest = decode(body);
      state.rev = state.latest.rev;
      draw(state);
      if (!state.latest.active) return;
    } else if (reply.status >= 500) wait = 3000;
    else if (reply.status !== 204) return;
  } catch {
    wait = 3000; // the server restarts: ask again
  }
  if (state.alive && turn === state.turn) state.timer = setTimeout(() => poll(state), wait);
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".tunesmith-live");
  let state = states.get(parentElement);
  if (!state || state.data.address !== data.address) {
    if (state) {
      state.alive = false; // an answer that is still on its way is no longer drawn
      clearTimeout(state.timer);
    }
    state = { rev: -1, latest: null, Plotly: null };
    states.set(parentElement, state);
  }
  Object.assign(state, { root, data, alive: true });
  root.querySelector(".words-smoothing").textContent = data.words.smoothing;
  root.querySelector(".words-log").textContent = data.words.log_axis;
  root.querySelector(".empty").textContent = data.words.empty;
  root.querySelector(".log").oninput = () => state.latest && state.Plotly && draw(state);
  root.querySelector(".smoothing").oninput = () => {
    clearTimeout(state.timer);
    state.rev = -1;
    state.timer = setTimeout(() => poll(state), 60);
  };
  clearTimeout(state.timer);
  if (state.latest && state.Plotly) draw(state); // the theme or the language may be new
  poll(state);
  return () => {
    state.alive = false;
    clearTimeout(state.timer);
  };
}
