// Notes, of a Streamlit page, what it asked its server and whether the answer is drawn: window.pageIsSettled().
// A page that still moves (an expander opens within half a second) is not settled: a press that begins on a button ends beside it.
// Messages are protobuf (streamlit/proto/BackMsg.proto, ForwardMsg.proto); only the numbers of their fields are read.
(() => {
  const RERUN = (11 << 3) | 2, NEW_SESSION = 4, FINISHED = 6, EARLY_FOR_RERUN = 2, STILL_MS = 100;
  let asked = false, runs = false;  // a question that no run has begun for; a run that has not ended
  let moved = 0;  // when something last changed its place

  function* fields(bytes) {
    let at = 0;
    const varint = () => {
      let value = 0, scale = 1;
      for (; at < bytes.length; scale *= 128) {
        const byte = bytes[at++];
        value += (byte & 127) * scale;
        if (byte < 128) break;
      }
      return value;
    };
    while (at < bytes.length) {
      const tag = varint(), value = varint();
      yield [tag >> 3, value];
      if ((tag & 7) === 2) at += value;
    }
  }

  function hear(bytes) {
    for (const [field, value] of fields(bytes)) {
      if (field === NEW_SESSION) [asked, runs] = [false, true];
      if (field === FINISHED && value !== EARLY_FOR_RERUN) runs = false;
    }
  }

  window.WebSocket = class extends window.WebSocket {
    constructor(...where) {
      super(...where);
      this.addEventListener("message", (event) => event.data instanceof ArrayBuffer && hear(new Uint8Array(event.data)));
      this.addEventListener("close", () => { [asked, runs] = [false, false]; });
    }

    send(data) {
      if (typeof data !== "string" && new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0)[0] === RERUN) asked = true;
      super.send(data);
    }
  };

  new PerformanceObserver(() => { moved = performance.now(); }).observe({ type: "layout-shift" });

  function isStill() {
    const moves = (animation) => animation.playState === "running" && Number.isFinite(animation.effect.getComputedTiming().endTime);
    return performance.now() - moved > STILL_MS && !document.getAnimations().some(moves);
  }

  window.pageIsSettled = () => {
    const app = document.querySelector("[data-testid=stApp]");
    const drawn = app ? app.dataset.testScriptState === "notRunning" : !document.querySelector("#root");
    return drawn && !asked && !runs && isStill();
  };
})();
