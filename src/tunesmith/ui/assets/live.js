// A grid of live curves, its panels told by the route. Polls its route, draws with Plotly.react and a fixed uirevision, so zoom survives new points.
const states = new WeakMap();
let loading = null;

function loadPlotly(address) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = reject;
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
  for (const { name, length } of header.series) {
    const values = new Float32Array(buffer, offset, 2 * length);
    series[name] = { x: values.subarray(0, length), y: values.subarray(length) };
    offset += 8 * length;
  }
  return { ...header, series };
}

function smooth(values, weight) {
  if (!weight) return values;
  const out = new Float32Array(values.length);
  let mean = 0, total = 0;
  values.forEach((value, i) => {
    mean = weight * mean + (1 - weight) * value;
    total = weight * total + (1 - weight);
    out[i] = mean / total;
  });
  return out;
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
  const weight = Number(root.querySelector(".smoothing").value);
  const panels = latest.panels.filter((panel) => panel.series.some((name) => latest.series[name].x.length));
  const narrow = root.clientWidth < 640;
  const columns = narrow ? 1 : 2;
  const places = layOut(panels.length, columns);
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, tickfont: { size: 11 } };
  const label = (name) => data.words[name] ?? name.split("/").pop();
  const traces = [];
  const layout = {
    uirevision: "keep", height: (narrow ? 225 : 280) * Math.ceil(panels.length / columns), margin: { l: 48, r: 12, t: 8, b: 40 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text, family: colour("--st-font", "sans-serif") },
    hovermode: "x unified", showlegend: true, annotations: [],
    hoverlabel: { bgcolor: colour("--st-secondary-background-color", "#f0f2f8"), font: { color: text } },
  };
  let next = 0;
  panels.forEach((panel, index) => {
    const n = index ? String(index + 1) : "";
    const [left, right, bottom, top] = places[index];
    panel.series.forEach((name, order) => {
      const { x, y } = latest.series[name];
      traces.push({
        type: "scatter", mode: x.length < 40 ? "lines+markers" : "lines", name: label(name), x,
        y: panel.smoothed.includes(name) ? smooth(y, weight) : y, xaxis: "x" + n, yaxis: "y" + n, showlegend: panel.series.length > 1 || panel.name === "functions",
        legend: "legend" + n, line: { color: palette[(panel.series.length > 1 ? order : next) % palette.length], width: 2 }, marker: { size: 4 },
      });
    });
    next += panel.series.length;
    const lowest = index >= panels.length - columns;
    layout["xaxis" + n] = {
      ...axis, domain: [left, right], anchor: "y" + n, rangemode: "tozero",
      title: lowest ? { text: data.words.step, font: { size: 12 }, standoff: 6 } : undefined,
    };
    layout["yaxis" + n] = { ...axis, domain: [bottom, top], anchor: "x" + n, rangemode: panel.from_zero ? "tozero" : "normal" };
    if (panel.name === "learning_rate") layout["yaxis" + n].exponentformat = "e";
    if (panel.name === "loss") layout["yaxis" + n].type = root.querySelector(".log").checked ? "log" : "linear";
    layout["legend" + n] = {
      x: right, y: top, xanchor: "right", yanchor: "top", bgcolor: colour("--st-background-color", "rgba(255,255,255,0.7)"), font: { size: 11 },
    };
    layout.annotations.push({
      text: `<b>${data.words["panel_" + panel.name]}</b>`, x: left, y: top, xref: "paper", yref: "paper", showarrow: false,
      xanchor: "left", yanchor: "bottom", yshift: 3, font: { size: 13, color: text },
    });
  });
  root.querySelector(".log").closest("label").hidden = !panels.some((panel) => panel.name === "loss");
  plot.style.height = `${layout.height}px`;
  Plotly.react(plot, traces, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "sendChartToCloud"], plotlyServerURL: "" });
}

async function poll(state) {
  if (!state.alive) return;
  let wait = document.hidden ? 5000 : state.data.every_ms;
  try {
    state.Plotly ??= await loadPlotly(state.data.plotly);
    const reply = await fetch(`${state.data.address}?since=${state.rev}`);
    if (reply.status === 200) {
      state.latest = decode(await reply.arrayBuffer());
      state.rev = state.latest.rev;
      draw(state);
      if (!state.latest.active) return;
    } else if (reply.status !== 204) return;
  } catch {
    wait = 3000; // the server restarts: ask again
  }
  if (state.alive) state.timer = setTimeout(() => poll(state), wait);
}

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".tunesmith-live");
  let state = states.get(parentElement);
  if (!state || state.data.address !== data.address) {
    if (state) clearTimeout(state.timer);
    state = { rev: -1, latest: null, Plotly: null };
    states.set(parentElement, state);
  }
  Object.assign(state, { root, data, alive: true });
  root.querySelector(".words-smoothing").textContent = data.words.smoothing;
  root.querySelector(".words-log").textContent = data.words.log_axis;
  root.querySelector(".empty").textContent = data.words.empty;
  for (const name of [".smoothing", ".log"]) root.querySelector(name).oninput = () => state.latest && state.Plotly && draw(state);
  clearTimeout(state.timer);
  if (state.latest && state.Plotly) draw(state); // the theme or the language may be new
  poll(state);
  return () => {
    state.alive = false;
    clearTimeout(state.timer);
  };
}
