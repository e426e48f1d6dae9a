// One StreamPlayer in the page, however many views of it there are: it talks with Python, feeds the
// worklet and keeps the books.

import { openLine, whenRestarted } from "./line.js";
import { FADE, feed, floats, inOrder, RATE, RING_SECONDS, secondsHeard, whySilent } from "./sound.js";
import { Spectrogram } from "./spectrogram.js";
import { WORKLET } from "./worklet.js";

export function makeEngine(model) {
  const id = model.get("player_id");
  const channels = model.get("has_reference") ? 4 : 2;
  const kernel = model.widget_manager?.kernel;
  const views = new Set();
  const runs = new Set(); // names of what was started in this page
  let line = null; // promise of our comm to Python
  let context = null,
    node = null,
    ticker = null;

  const engine = {
    state: "idle",
    note: "",
    error: "",
    listening: false,
    asleep: false,
    views,
    ...emptyBooks(),
    start,
    stop,
    hear,
    now,
    wakeUp,
  };

  function emptyBooks() {
    return {
      run: null,
      blocks: [],
      arrive: inOrder(take),
      backlog: [],
      started: 0,
      firstSound: null,
      ended: false,
      answered: false,
      endNote: "",
      read: 0,
      write: 0,
      underruns: 0,
      peak: 0,
      moving: false,
      at: 0,
      received: 0,
      pictures: Array.from({ length: channels / 2 }, () => new Spectrogram()),
    };
  }

  function changed() {
    for (const view of views) view();
  }

  function take(piece) {
    engine.received += piece.samples;
    engine.pictures.forEach((picture, i) =>
      picture.push(
        piece.planes.subarray(2 * i * piece.samples, (2 * i + 1) * piece.samples),
        piece.planes.subarray((2 * i + 1) * piece.samples, (2 * i + 2) * piece.samples),
      ),
    );
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
      run,
      state: "waiting",
      note: "waiting for the first block …",
      error: "",
      started: performance.now(),
    });
    runs.add(run);
    const source = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    let mine;
    try {
      // context and resume belong to the click itself, before any await, or the sound stays suspended
      mine = context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
      const awake = mine.resume();
      changed();
      send({ kind: "start", run });
      ticker = setInterval(tick, 250);
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
      numberOfInputs: 0,
      outputChannelCount: [2],
      processorOptions: {
        channels,
        capacity: RING_SECONDS * RATE,
        fade: FADE,
        need: samples("prebuffer_seconds"),
        again: samples("lead_seconds"),
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
      run: null,
      moving: false,
      asleep: false,
      at: performance.now(),
      note,
      error,
      backlog: [],
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

  function now() {
    return secondsHeard(engine);
  }

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
    }
    const why = whySilent(context?.state, performance.now() - engine.started, engine.read > 0);
    if (why) engine.note = why;
    else if (engine.asleep) engine.note = engine.moving ? "" : "waiting for the first block …";
    engine.asleep = why !== "";
    changed();
  }

  // For a click anywhere in the strip: the browser lets sound begin only then.
  function wakeUp() {
    if (engine.run && context && !["running", "closed"].includes(context.state)) context.resume();
  }

  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "started" && engine.run && !runs.has(message.run))
      stop("another window plays this now");
    if (!engine.run || message.run !== engine.run) return; // of an earlier Start: stale
    if (message.kind === "started") engine.answered = true;
    if (message.kind === "block") engine.blocks.push(message);
    if (message.kind === "end") {
      if (message.reason === "error") return finish(0.3, "", message.text);
      if (message.reason === "stopped" || message.reason.startsWith("another"))
        return finish(0.05, message.reason);
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

  const onOther = ({ detail }) => {
    if (detail !== id) stop("another player was started");
  };
  const forget = whenRestarted(kernel, () => {
    if (engine.run) finish(0.1, "", "The kernel was restarted: run the cell again.");
  });
  window.addEventListener("lmdm-player-start", onOther);
  engine.dispose = () => {
    stop();
    line?.then(
      (comm) => comm.close(),
      () => {},
    );
    window.removeEventListener("lmdm-player-start", onOther);
    forget();
  };
  return engine;
}
