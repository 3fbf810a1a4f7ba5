// A 2 x 2 grid of live curves. Polls its route, draws with Plotly.react and a fixed uirevision, so zoom survives new points.
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
  const panels = [
    ["train_loss", "", 0], ["val_loss", "", 1], ["learning_rate", "2", 2], ["tokens_per_second", "3", 3], ["peak_memory_gb", "4", 4],
  ];
  const traces = panels.map(([name, axis, index]) => ({
    type: "scatter", mode: latest.series[name].x.length < 40 ? "lines+markers" : "lines", name: data.words[name],
    x: latest.series[name].x, y: name === "train_loss" ? smooth(latest.series[name].y, weight) : latest.series[name].y,
    xaxis: "x" + axis, yaxis: "y" + axis, showlegend: axis === "", line: { color: palette[index % palette.length], width: 2 },
    marker: { size: 4 },
  }));
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true, tickfont: { size: 11 } };
  const title = (name, x, y) => ({
    text: data.words[name], x, y, xref: "paper", yref: "paper", showarrow: false, xanchor: "left", yanchor: "bottom", font: { size: 13, color: text },
  });
  const layout = {
    uirevision: "keep", height: 560, margin: { l: 48, r: 16, t: 28, b: 40 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: text, family: colour("--st-font", "sans-serif") }, grid: { rows: 2, columns: 2, pattern: "independent", xgap: 0.14, ygap: 0.28 },
    legend: { x: 0.43, y: 1, xanchor: "right", yanchor: "top", bgcolor: "rgba(0,0,0,0)" }, hovermode: "x unified",
    hoverlabel: { bgcolor: colour("--st-secondary-background-color", "#f0f2f8"), font: { color: text } },
    annotations: [title("loss", 0, 1.01), title("learning_rate", 0.57, 1.01), title("tokens_per_second", 0, 0.44), title("peak_memory_gb", 0.57, 0.44)],
    yaxis: { ...axis, type: root.querySelector(".log").checked ? "log" : "linear" },
  };
  for (const n of ["", "2", "3", "4"]) {
    layout["xaxis" + n] = { ...axis, title: n === "3" || n === "4" ? { text: data.words.step, font: { size: 12 } } : undefined };
    layout["yaxis" + n] = { ...axis, ...(layout["yaxis" + n] ?? {}) };
  }
  layout.yaxis2.exponentformat = "e";
  layout.yaxis4.rangemode = "tozero";
  Plotly.react(plot, traces, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
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
