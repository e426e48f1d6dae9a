// One JamSession in the page, however many views of it there are: Start and Stop, and what goes to Python
// and comes from it.

import {
  beginBooks,
  Download,
  emptyBooks,
  takeBlock,
  takePlayed,
  takeReport,
  toSixteenBits,
} from "./jam_books.js";
import { makeDesk } from "./jam_desk.js";
import { openLine, whenRestarted } from "./line.js";
import { FADE, feed, floats, RATE, RING_SECONDS, secondsHeard, whySilent } from "./sound.js";

// of sound in hand before it begins, and after it ran out: less than FIRST_SECONDS of engine.py
const AGAIN_SECONDS = 0.7;
// samples of the player's sound in a message, 100 ms: each costs the page and the kernel some
// milliseconds
const PIECE = 4410;
const TICK = 400; // ms between two reports
const WAITING = "waiting for the first block …";

export function makeJam(model) {
  const id = model.get("jam_id");
  const kernel = model.widget_manager?.kernel;
  const views = new Set();
  const runs = new Set(); // names of what was started in this page
  const downloads = new Map();
  let line = null,
    node = null,
    ticker = null;

  const jam = {
    views,
    state: "idle",
    note: "",
    error: "",
    asleep: false,
    saved: [],
    folder: "",
    roundTrip: 0.03,
    measured: false,
    devices: [],
    device: "",
    mic: "off",
    micError: "",
    file: null,
    keys: false,
    midi: "",
    ...emptyBooks(),
    start,
    stop,
    panic,
    now,
    wakeUp,
    set: (settings) => send({ kind: "set", settings }),
    forget: () => send({ kind: "forget" }),
    save: () => send({ kind: "save" }),
    fetch,
  };
  const desk = makeDesk(jam, model, { changed, ask: () => send({ kind: "sound?" }) });
  Object.assign(jam, desk.forViews, { context: desk.context });

  function changed() {
    for (const view of views) view();
  }

  function say(note, seconds = Infinity) {
    // a note that goes away by itself
    jam.note = note;
    if (seconds < Infinity)
      setTimeout(() => {
        if (jam.note === note) {
          jam.note = "";
          changed();
        }
      }, 1000 * seconds);
  }

  async function send(message, buffers) {
    try {
      if (kernel?.createComm)
        (await (line ??= openLine(kernel, "lmdm_mini.jam", id))).send(message, undefined, buffers);
      else model.send(message, undefined, buffers);
    } catch (problem) {
      console.warn("JamSession:", problem);
      line = null;
      if (message.kind === "start")
        finish(0, "", "There is no running kernel behind this page: run the notebook, then press Start.");
    }
  }

  async function start(settings) {
    finish(0.05, "");
    window.dispatchEvent(new CustomEvent("lmdm-player-start", { detail: id })); // others fall silent
    const run = Math.random().toString(36).slice(2);
    runs.add(run);
    beginBooks(jam, run, performance.now());
    Object.assign(jam, { state: "waiting", note: WAITING, error: "" });
    send({ kind: "start", run, settings });
    ticker = setInterval(tick, TICK);
    changed();
    try {
      await desk.wake();
    } catch (problem) {
      if (jam.run === run) finish(0, "", `The browser's sound did not start: ${problem.message}.`, true);
      return;
    }
    if (jam.run !== run) return; // stopped meanwhile
    const need = Math.round(AGAIN_SECONDS * RATE);
    node = new AudioWorkletNode(desk.context(), "stream-ring", {
      numberOfInputs: 1,
      outputChannelCount: [2],
      processorOptions: {
        channels: 2,
        capacity: RING_SECONDS * RATE,
        fade: FADE,
        need,
        again: need,
        capture: PIECE,
      },
    });
    node.port.onmessage = ({ data }) => heardBack(run, data);
    desk.connect(node);
    feed(node, jam);
  }

  // Ends what is playing, if anything: fades out, tells Python, keeps the picture.
  function finish(fade, note, error = "", tell = false) {
    if (tell && jam.run) send({ kind: "stop", run: jam.run });
    clearInterval(ticker);
    const old = node;
    node = null;
    if (old) {
      old.port.postMessage({ kind: "close", seconds: fade });
      setTimeout(
        () => {
          old.port.onmessage = null;
          desk.disconnect(old);
        },
        1000 * fade + 150,
      );
    }
    const state = error ? "error" : "idle";
    Object.assign(jam, {
      run: null,
      moving: false,
      asleep: false,
      at: performance.now(),
      note,
      error,
      backlog: [],
      state,
    });
    changed();
  }

  function stop(note = "stopped") {
    if (jam.run) finish(0.05, note, "", true);
  }

  function panic(settings) {
    // silence at once, and on from nothing
    desk.silence();
    if (jam.run) start(settings);
  }

  function now() {
    return secondsHeard(jam, desk.state() === "running");
  }

  // For a click anywhere in the strip: the browser lets sound begin only then.
  function wakeUp() {
    if (jam.run && !["running", "closed", undefined].includes(desk.state())) desk.context().resume();
  }

  function heardBack(run, data) {
    if (jam.run !== run) return;
    if (data.captured) return sendPiece(data);
    const turned = takeReport(jam, data, performance.now());
    if (turned && jam.answered) tick(); // the engine goes by the clock from here
    if (turned) say(jam.moving ? "" : jam.read > 0 ? "out of sound: waiting …" : WAITING);
    feed(node, jam);
    changed();
  }

  function sendPiece({ captured, start: at }) {
    const place = at - Math.round(desk.delayed() * RATE);
    if (place >= 0) send({ kind: "sound", start: place, rate: RATE }, [toSixteenBits(captured).buffer]);
    takePlayed(jam, captured, place);
  }

  function tick() {
    const waited = performance.now() - jam.started;
    const why = whySilent(desk.state(), waited, jam.read > 0);
    if (jam.answered) {
      const moving = jam.moving && desk.state() === "running",
        { left } = jam;
      jam.left = null;
      send({
        kind: "report",
        run: jam.run,
        played: jam.read / RATE,
        at: jam.at / 1000,
        moving,
        underruns: jam.underruns,
        left,
      });
    } else if (waited > 6000) {
      const loading = model.get("state") === "loading";
      jam.note = loading
        ? "the model is still loading …"
        : "the kernel does not answer: it is busy or gone (then run the cell again)";
    }
    if (why) jam.note = why;
    else if (jam.asleep) jam.note = jam.moving ? "" : WAITING; // it woke up
    jam.asleep = why !== "";
    changed();
  }

  // -- what Python says
  const answers = {
    refused: ({ text, stays }) => say(text, stays ? Infinity : 8),
    saved: ({ names, folder }) => {
      Object.assign(jam, { saved: names, folder });
      say("saved", 5);
    },
    file: (message, buffer) => download(message, buffer),
    yours: ({ samples }, buffer) => desk.takeYours(samples, floats(buffer)),
  };
  const answersOfRun = {
    started: () => {
      jam.answered = true;
    },
    block: (block) => takeBlock(jam, block, now()),
    end: ({ reason, text }) => (reason === "error" ? finish(0.3, "", text) : finish(0.05, reason)),
    sound: ({ seq, samples }, buffer) => {
      jam.arrive(seq, { samples, planes: floats(buffer) });
      feed(node, jam);
    },
  };

  model.on("msg:custom", (message, buffers) => {
    answers[message.kind]?.(message, buffers?.[0]);
    if (jam.run && message.run === jam.run)
      answersOfRun[message.kind]?.(message, buffers?.[0]); // else of an earlier Start
    else if (message.kind === "started" && jam.run && !runs.has(message.run))
      stop("another window plays this session now");
    changed();
  });

  function fetch(name) {
    downloads.set(name, new Download());
    send({ kind: "fetch", name });
  }

  function download({ name, at, size }, buffer) {
    const file = downloads.get(name);
    if (!file) return;
    const bytes = new Uint8Array(
      buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength),
    );
    const parts = file.take(at, bytes, size);
    say(`${name}: ${Math.round((100 * file.got) / size)} %`, 3);
    if (!parts) return;
    downloads.delete(name);
    const url = URL.createObjectURL(new Blob(parts));
    Object.assign(document.createElement("a"), { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  const onOther = ({ detail }) => {
    if (detail !== id) stop("another player was started");
  };
  const onLeave = () => stop();
  const forgetKernel = whenRestarted(kernel, () => {
    line = null;
    if (jam.run) finish(0.1, "", "The kernel was restarted: run the cell again.");
  });
  window.addEventListener("lmdm-player-start", onOther);
  window.addEventListener("pagehide", onLeave);
  jam.dispose = () => {
    stop();
    desk.dispose();
    line?.then(
      (comm) => comm.close(),
      () => {},
    );
    window.removeEventListener("lmdm-player-start", onOther);
    window.removeEventListener("pagehide", onLeave);
    forgetKernel();
  };
  return jam;
}
