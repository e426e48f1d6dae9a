// The browser's half of StreamPlayer (player.py): an anywidget module, no build step. Before it stand sound.js and picture.js
// (browser.py joins them). Two parts: the engine (one a widget) that talks with Python and keeps the books, and the view that
// draws them.

// ---------------------------------------------------------------- engine: one a widget, however many views
const engines = new Map(); // player_id -> engine

function makeEngine(model) {
  const id = model.get("player_id");
  const channels = model.get("has_reference") ? 4 : 2;
  const kernel = model.widget_manager?.kernel;
  const views = new Set();
  let line = null; // promise of our comm to Python
  let context = null, node = null, ticker = null, resumed = null;

  const engine = {
    state: "idle", note: "", error: "", listening: false, views,
    ...emptyBooks(),
    start, stop, hear, now,
  };

  function emptyBooks() {
    return {
      run: null, blocks: [], arrive: inOrder(take), backlog: [], started: 0, firstSound: null, ended: false,
      answered: false, endNote: "",
      read: 0, write: 0, underruns: 0, peak: 0, moving: false, at: 0, received: 0,
      pictures: Array.from({ length: channels / 2 }, () => new Spectrogram()),
    };
  }

  function changed() { for (const view of views) view(); }

  function take(piece) {
    engine.received += piece.samples;
    engine.pictures.forEach((picture, i) => picture.push(
      piece.planes.subarray(2 * i * piece.samples, (2 * i + 1) * piece.samples),
      piece.planes.subarray((2 * i + 1) * piece.samples, (2 * i + 2) * piece.samples)));
    engine.backlog.push(piece);
  }

  async function send(message) {
    try {
      if (kernel?.createComm) (await (line ??= openLine(kernel, "lmdm_mini.player", id))).send(message);
      else model.send(message);
    } catch (problem) {
      console.warn("StreamPlayer:", problem);
      line = null;
      if (engine.run === message.run && message.kind === "start") {
        finish(0, "", "There is no running kernel behind this page: run the notebook to start the player.");
      }
    }
  }

  async function start() {
    if (!window.AudioContext || !window.isSecureContext) {
      engine.error = "This page may not play live sound: open the notebook at https:// or at localhost.";
      return changed();
    }
    finish(0.05, "");
    window.dispatchEvent(new CustomEvent("lmdm-player-start", { detail: id })); // others fall silent
    const run = Math.random().toString(36).slice(2);
    Object.assign(engine, emptyBooks(), {
      run, state: "waiting", note: "waiting for the first block …", error: "", started: performance.now(),
    });
    // context and resume belong to the click itself, before any await, or the sound stays suspended
    const mine = (context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" }));
    const awake = mine.resume();
    changed();
    send({ kind: "start", run });
    ticker = setInterval(tick, 250);
    const source = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    try {
      await Promise.all([awake, mine.audioWorklet.addModule(source)]);
    } catch (problem) {
      if (engine.run === run) finish(0, "", `The browser's sound did not start: ${problem.message}`, true);
      return;
    } finally {
      URL.revokeObjectURL(source);
    }
    if (engine.run !== run) return; // stopped meanwhile
    const samples = (name) => Math.round(model.get(name) * RATE);
    node = new AudioWorkletNode(mine, "stream-ring", {
      numberOfInputs: 0, outputChannelCount: [2],
      processorOptions: {
        channels, capacity: RING_SECONDS * RATE, fade: FADE,
        need: samples("prebuffer_seconds"), again: samples("lead_seconds"),
      },
    });
    node.port.onmessage = ({ data }) => heardBack(run, data);
    node.connect(mine.destination);
    if (engine.listening) hear(true);
    flush();
  }

  // Ends what is playing, if anything: fades out, tells Python, keeps the picture.
  function finish(fade, note, error = "", tell = false) {
    if (tell && engine.run) send({ kind: "stop", run: engine.run });
    clearInterval(ticker);
    if (context) {
      const [oldContext, oldNode] = [context, node];
      oldNode?.port.postMessage({ kind: "close", seconds: fade });
      setTimeout(() => oldContext.close(), 1000 * fade + 150);
    }
    context = node = null;
    Object.assign(engine, {
      run: null, moving: false, at: performance.now(), note, error, backlog: [],
      state: error ? "error" : "idle",
    });
    changed();
  }

  function stop(note = "stopped") {
    if (engine.run) finish(0.05, note, "", true);
  }

  function hear(reference) {
    engine.listening = reference;
    node?.port.postMessage({ kind: "listen", reference });
    changed();
  }

  function now() { return secondsHeard(engine); }

  function flush() {
    feed(node, engine);
    if (node && engine.ended && !engine.backlog.length) node.port.postMessage({ kind: "end" });
  }

  function heardBack(run, { read, underruns, peak, moving, over }) {
    if (engine.run !== run) return;
    if (engine.firstSound === null && read > 0) engine.firstSound = performance.now() - engine.started;
    Object.assign(engine, { read, underruns, peak, moving, at: performance.now() });
    if (over) return finish(0, engine.endNote);
    engine.state = moving ? "playing" : "waiting";
    engine.note = moving ? "" : read > 0 ? "the stream is late: waiting …" : "waiting for the first block …";
    flush();
    changed();
  }

  function tick() {
    if (engine.answered && !engine.ended) {
      const running = engine.moving && context?.state === "running";
      send({ kind: "report", run: engine.run, played: engine.read / RATE, moving: running });
    } else if (!engine.answered && performance.now() - engine.started > 4000) {
      engine.note = "the kernel does not answer: it is busy or gone (then run the cell again)";
      changed();
    }
  }

  model.on("msg:custom", (message, buffers) => {
    if (!engine.run || message.run !== engine.run) return; // of an earlier Start: stale
    if (message.kind === "started") engine.answered = true;
    if (message.kind === "block") engine.blocks.push(message);
    if (message.kind === "end") {
      if (message.reason === "error") return finish(0.3, "", message.text);
      if (message.reason === "stopped" || message.reason.startsWith("another")) return finish(0.05, message.reason);
      Object.assign(engine, { ended: true, endNote: message.reason });
      if (!engine.received) return finish(0, "the stream was empty");
      flush();
    }
    if (message.kind === "sound") {
      engine.arrive(message.seq, { samples: message.samples, planes: floats(buffers[0]) });
      flush();
    }
    changed();
  });

  const onOther = ({ detail }) => { if (detail !== id) stop("another player was started"); };
  const onStatus = (_, status) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status) && engine.run) {
      finish(0.1, "", "The kernel was restarted: run the cell again.");
    }
  };
  window.addEventListener("lmdm-player-start", onOther);
  kernel?.statusChanged?.connect(onStatus);
  engine.dispose = () => {
    stop();
    line?.then((comm) => comm.close(), () => {});
    window.removeEventListener("lmdm-player-start", onOther);
    kernel?.statusChanged?.disconnect(onStatus);
    engines.delete(id);
  };
  return engine;
}

// ---------------------------------------------------------------- view
const BARS = 92, PICTURE = 104, GAP = 10, AXIS = 20, LEFT = 44, RIGHT = 6; // CSS pixels

function renderPlayer({ model, el }) {
  const engine = engines.get(model.get("player_id"));
  const root = document.createElement("div");
  root.className = "lmdm-player";
  root.innerHTML = `
    <div class="lmdm-head">
      <button type="button" class="lmdm-start">Start</button>
      <span class="lmdm-title"></span>
      <button type="button" class="lmdm-side" aria-pressed="false">hear the reference</button>
      <span class="lmdm-note" role="status"></span>
    </div>
    <div class="lmdm-error" role="alert"></div>
    <canvas role="img"></canvas>
    <div class="lmdm-numbers">
      ${["heard", "block RTF", "lead", "underruns", "first sound"]
        .map((name) => `<div><span>${name}</span><b>–</b></div>`).join("")}
    </div>`;
  el.append(root);
  const [button, side, canvas] = ["button.lmdm-start", "button.lmdm-side", "canvas"].map((s) => root.querySelector(s));
  const [title, note, error] = ["title", "note", "error"].map((name) => root.querySelector(`.lmdm-${name}`));
  const numbers = [...root.querySelectorAll(".lmdm-numbers b")];
  const pen = canvas.getContext("2d");
  const tracks = engine.pictures.length;
  title.textContent = model.get("title");
  side.hidden = tracks < 2;
  canvas.setAttribute("aria-label", "Cost of each block over a spectrogram of the sound");

  let theme = null, films = [], scale = 1.3;
  const findTheme = themeOf(root), again = paced(draw);

  function draw() {
    const fresh = findTheme();
    if (fresh !== theme) { theme = fresh; films = theme.ramps.map(makeFilm); }
    const height = BARS + GAP + tracks * (PICTURE + GAP) - GAP + AXIS;
    const width = fitCanvas(canvas, pen, height);
    const text = (...words) => write(pen, theme, ...words);
    const span = width < 480 ? 8 : width < 760 ? 12 : 16; // seconds in sight
    const now = engine.now(), from = Math.max(0, now - 0.7 * span);
    const plot = width - LEFT - RIGHT;
    const place = (seconds) => LEFT + ((seconds - from) / span) * plot;
    pen.clearRect(0, 0, width, height);
    const bottom = height - AXIS;

    // time axis
    drawTimes(pen, theme, from, span, place, bottom);

    // a bar a block: its height is the time it took over the time it lasts
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, plot, height);
    pen.clip();
    const seen = engine.blocks.filter((b) => b.seconds > 0 && b.start < from + span && b.start + b.seconds > from);
    const most = Math.max(1, ...seen.map((b) => b.made / b.seconds));
    scale += 0.15 * (Math.min(4, Math.max(1.35, 1.15 * most)) - scale); // glides, so that bars do not jump
    const up = (factor) => BARS - (Math.min(factor, scale) / scale) * (BARS - 14);
    for (const block of seen) {
      const factor = block.made / block.seconds, x = place(block.start), top = Math.min(up(factor), BARS - 2);
      const wide = (block.seconds / span) * plot;
      pen.globalAlpha = block.start <= now ? 0.95 : 0.4;
      pen.fillStyle = factor > 1 ? theme.slow : theme.fast;
      pen.beginPath();
      pen.roundRect(x + 0.5, top, Math.max(1, wide - 1.5), BARS - top, [Math.min(3, wide / 4), Math.min(3, wide / 4), 0, 0]);
      pen.fill();
      pen.globalAlpha = 1;
      if (wide > 30) {
        text(factor < 0.1 ? factor.toFixed(3) : factor.toFixed(2), x + wide / 2, top - 7, theme.soft, "center", 10);
      }
      if (block.label && wide > 30) text(block.label, x + wide / 2, BARS + 5, theme.soft, "center", 9);
    }
    pen.strokeStyle = theme.soft;
    pen.setLineDash([4, 4]);
    pen.beginPath();
    pen.moveTo(LEFT, Math.round(up(1)) + 0.5);
    pen.lineTo(width, Math.round(up(1)) + 0.5);
    pen.stroke();
    pen.setLineDash([]);

    // what is heard; what is still to come is veiled
    engine.pictures.forEach((picture, track) => {
      const top = BARS + GAP + track * (PICTURE + GAP);
      const film = films[track](picture);
      drawFilm(pen, film, picture, from, span, place, top, PICTURE);
      pen.globalAlpha = tracks > 1 && (track === 1) !== engine.listening ? 0.35 : 0;
      pen.fillStyle = theme.paper;
      pen.fillRect(LEFT, top, plot, PICTURE);
      pen.globalAlpha = 0.6;
      pen.fillRect(place(now), top, width, PICTURE);
      pen.globalAlpha = 1;
    });
    pen.restore();

    text("real time", width - RIGHT, up(1) - 7, theme.soft, "right", 10);
    text("RTF", LEFT - 6, 8, theme.soft, "right", 10);
    text("1", LEFT - 6, up(1), theme.soft, "right", 10);
    text("0", LEFT - 6, BARS - 3, theme.soft, "right", 10);
    pen.fillStyle = theme.line;
    pen.fillRect(LEFT, BARS, plot, 1);
    for (let track = 0; track < tracks; track++) {
      const top = BARS + GAP + track * (PICTURE + GAP);
      pen.fillStyle = theme.line;
      pen.fillRect(LEFT, top + PICTURE, plot, 1);
      drawHertz(pen, theme, LEFT - 6, top, PICTURE);
      if (tracks > 1) text(track ? "reference" : "stream", width - RIGHT - 4, top + 9, theme.soft, "right", 10);
    }
    if (engine.run || now > 0) {
      pen.fillStyle = theme.ink;
      pen.fillRect(Math.round(place(now)) - 0.75, 0, 1.5, bottom);
    } else if (!engine.blocks.length) {
      text("press Start", LEFT + plot / 2, BARS + GAP + PICTURE / 2, theme.soft, "center", 13);
    }
    if (engine.moving || Math.abs(Math.min(4, Math.max(1.35, 1.15 * most)) - scale) > 0.01) again();
  }

  function update() {
    const on = engine.run !== null;
    const block = engine.blocks.at(-1);
    const factor = block && block.seconds > 0 ? block.made / block.seconds : null;
    const lead = on ? Math.max(0, Math.round(1000 * (engine.received / RATE - engine.now()))) : 0;
    const first = engine.firstSound === null ? null : Math.round(engine.firstSound);
    Object.assign(root.dataset, {
      state: engine.state, playedSeconds: (engine.read / RATE).toFixed(3), underruns: engine.underruns,
      blocks: engine.blocks.length, peak: engine.peak.toFixed(4), leadMs: lead, firstSoundMs: first ?? "",
      rtf: factor === null ? "" : factor.toFixed(4),
    });
    button.textContent = on ? "Stop" : "Start";
    side.setAttribute("aria-pressed", engine.listening);
    if (note.textContent !== engine.note) note.textContent = engine.note;
    if (error.textContent !== engine.error) error.textContent = engine.error;
    const known = engine.blocks.length > 0;
    [
      known ? `${engine.now().toFixed(1)} s` : "–",
      factor === null ? "–" : factor.toFixed(factor < 0.1 ? 3 : 2),
      on && known ? `${lead} ms` : "–",
      known ? `${engine.underruns}` : "–",
      first === null ? "–" : `${first} ms`,
    ].forEach((value, i) => { if (numbers[i].textContent !== value) numbers[i].textContent = value; });
    again();
  }

  button.addEventListener("click", () => (engine.run ? engine.stop() : engine.start()));
  side.addEventListener("click", () => engine.hear(!engine.listening));
  const sizes = new ResizeObserver(again);
  sizes.observe(root);
  const themes = new MutationObserver(again);
  themes.observe(document.body, { attributes: true });
  engine.views.add(update);
  update();
  return () => {
    engine.views.delete(update);
    sizes.disconnect();
    themes.disconnect();
    again.stop();
    if (engine.views.size === 0) engine.stop(); // the cell was run again or its output cleared
  };
}

export default {
  initialize({ model }) {
    const engine = makeEngine(model);
    engines.set(model.get("player_id"), engine);
    return engine.dispose;
  },
  render: renderPlayer,
};
