// The sound desk of a JamSession: one AudioContext for as long as the widget lives, and what the player
// plays into it.

import { measureRoundTrip } from "./jam_delay.js";
import { RATE } from "./sound.js";
import { forgetMidi, listenToMidi, NOTES, Synth } from "./synth.js";
import { WORKLET } from "./worklet.js";

const NO_MICROPHONE = {
  NotAllowedError:
    "The browser was not allowed to use the microphone: allow it at the padlock in the address bar, then try again. " +
    "A file and the keys work without it.",
  NotFoundError: "No microphone was found. A file and the keys work without one.",
};

// jam: the books that views show, in which this fills mic, micError, devices, device, file, keys, midi,
// roundTrip and measured. ask(): asks Python for the recording that it was given as `sound`, which comes
// with `takeYours`.
export function makeDesk(jam, model, { changed, ask }) {
  let context = null,
    local = null,
    delay = null,
    meter = null,
    outMeter = null,
    mixed = null,
    synth = null;
  let microphone = null,
    file = null,
    node = null,
    midi = null,
    yours = null,
    waiting = false;
  let asked = 0,
    measuredDevice = "";

  // Lets sound begin; to be called by a click. Throws if the browser has none.
  async function wake() {
    if (!window.AudioContext || !window.isSecureContext) {
      throw new Error("this page may not play live sound: open the notebook at https:// or at localhost");
    }
    if (!context) build();
    else if (context.state !== "running") context.resume();
    await context.ready;
    if (!jam.measured) {
      jam.roundTrip = guessDelay();
      align();
    }
  }

  function build() {
    context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    const mine = context;
    const awake = mine.resume(); // belongs to the click itself, before any await
    local = new GainNode(mine); // what the player makes in this page: it is heard, and captured
    delay = new DelayNode(mine, { maxDelayTime: 1, delayTime: 0 });
    meter = new AnalyserNode(mine, { fftSize: 2048 });
    outMeter = new AnalyserNode(mine, { fftSize: 2048 });
    mixed = new MediaStreamAudioDestinationNode(mine);
    for (const end of [mine.destination, delay, meter, mixed]) local.connect(end);
    synth = new Synth(mine, local);
    const source = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    mine.ready = Promise.all([awake, mine.audioWorklet.addModule(source)]).finally(() =>
      URL.revokeObjectURL(source),
    );
    jam.roundTrip = guessDelay();
    jam.mix = mixed.stream;
    align();
  }

  function guessDelay() {
    // out through the speaker and back through the microphone, seconds
    const input = microphone?.stream.getAudioTracks()[0]?.getSettings?.().latency || 0.01;
    return (context.baseLatency || 0) + (context.outputLatency || 0.02) + input;
  }

  // What the microphone brings is late by the round trip, and is labelled so; what is made in this page
  // waits for it.
  function align() {
    delay.delayTime.value = microphone ? Math.min(1, jam.roundTrip) : 0;
  }

  // -- the worklet's node: into it goes what is captured, out of it comes the model's sound
  function connect(fresh) {
    node = fresh;
    for (const end of [context.destination, outMeter, mixed]) node.connect(end);
    plug();
  }

  // What goes into the capture: nothing if nobody plays, so that nothing is sent.
  function plug() {
    if (!node) return;
    unplug(node);
    if (file || jam.keys) delay.connect(node);
    microphone?.source.connect(node);
  }

  function unplug(old) {
    for (const source of [delay, microphone?.source]) {
      try {
        source?.disconnect(old);
      } catch {
        /* was not connected */
      }
    }
  }

  function disconnect(old) {
    old.disconnect();
    unplug(old);
    if (node === old) node = null;
  }

  // -- what the player plays
  function dropMicrophone() {
    if (!microphone) return;
    microphone.source.disconnect();
    microphone.stream.getTracks().forEach((track) => track.stop());
    microphone = null;
    if (context) align();
  }

  async function useMicrophone(on, device = jam.device) {
    const turn = ++asked; // an answer to an older question is no answer
    Object.assign(jam, { mic: on ? "asking" : "off", micError: "", device });
    changed();
    dropMicrophone();
    if (!on) return changed();
    try {
      await wake();
      const stream = await openMicrophone(device);
      if (turn !== asked) return stream.getTracks().forEach((track) => track.stop());
      takeMicrophone(stream, device);
      jam.devices = (await navigator.mediaDevices.enumerateDevices()).filter(
        ({ kind }) => kind === "audioinput",
      );
    } catch (problem) {
      if (turn !== asked) return;
      Object.assign(jam, { mic: "failed", device: "" }); // the next try may take any
      jam.micError =
        NO_MICROPHONE[problem.name] ??
        `The microphone did not start: ${problem.message || problem.name}. A file and the keys work without it.`;
    }
    changed();
  }

  async function openMicrophone(device) {
    const camera = await model.widget_manager.get_model(model.get("microphone").replace("IPY_MODEL_", ""));
    camera.cameraStream = null; // it keeps its first stream, and its first refusal
    const wanted = camera.get("constraints");
    const audio = { ...wanted.audio, deviceId: device ? { exact: device } : undefined };
    camera.set("constraints", { ...wanted, audio });
    return camera.captureStream();
  }

  function takeMicrophone(stream, device) {
    const track = stream.getAudioTracks()[0];
    microphone = { stream, source: new MediaStreamAudioSourceNode(context, { mediaStream: stream }) };
    microphone.source.connect(meter);
    track.addEventListener("ended", async () => {
      if (microphone?.stream !== stream) return;
      await useMicrophone(false, "");
      Object.assign(jam, { mic: "failed", micError: "The microphone was unplugged." });
      changed();
    });
    jam.device = track.getSettings().deviceId || device;
    if (jam.device !== measuredDevice) jam.measured = false;
    measuredDevice = jam.device;
    jam.mic = "on";
    if (!jam.measured) jam.roundTrip = guessDelay();
    align();
    plug();
  }

  function playFile(buffer, name) {
    file?.disconnect();
    file = jam.file = null;
    if (buffer) {
      file = new AudioBufferSourceNode(context, { buffer, loop: true });
      file.connect(local);
      file.start();
      jam.file = name;
    }
    plug();
    changed();
  }

  async function usePicked(picked) {
    // a File, or null for silence
    if (!picked) return context && playFile(null);
    try {
      await wake();
      playFile(await context.decodeAudioData(await picked.arrayBuffer()), picked.name);
    } catch (problem) {
      complain(`${picked.name} cannot be played: ${problem.message}`);
    }
  }

  async function usePassed() {
    // what Python was given as `sound`
    try {
      await wake();
    } catch (problem) {
      return complain(`The browser's sound did not start: ${problem.message}.`);
    }
    if (yours) return playFile(yours, "your recording");
    waiting = true;
    ask();
  }

  function takeYours(samples, planes) {
    yours = new AudioBuffer({ length: samples, numberOfChannels: 2, sampleRate: RATE });
    for (const c of [0, 1]) yours.copyToChannel(planes.subarray(c * samples, (c + 1) * samples), c);
    if (waiting) usePassed();
    waiting = false;
  }

  async function useKeys(on) {
    jam.keys = on;
    plug();
    changed();
    if (!on) return synth?.silence();
    try {
      await wake();
    } catch (problem) {
      return complain(`The browser's sound did not start: ${problem.message}.`);
    }
    plug();
    const played = (note, velocity) => {
      if (jam.keys) synth.on(note, velocity);
    };
    midi ??= listenToMidi({ on: played, off: (note) => synth.off(note), silence: () => synth.silence() });
    try {
      const instruments = (await midi).inputs.size;
      jam.midi = instruments ? `${instruments} MIDI` : "";
    } catch {
      midi = null; /* no MIDI: the keys are enough */
    }
    changed();
  }

  function complain(words) {
    jam.micError = words;
    changed();
  }

  function press(key) {
    if (jam.keys && key in NOTES && !synth?.playing.has(NOTES[key])) synth?.on(NOTES[key]);
  }

  function release(key) {
    if (key in NOTES) synth?.off(NOTES[key]);
  }

  const samples = new Float32Array(2048);
  function level(own) {
    // peak in dB of what comes in, or goes out
    const analyser = own ? outMeter : meter;
    if (!analyser) return -Infinity;
    analyser.getFloatTimeDomainData(samples);
    return 20 * Math.log10(samples.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6));
  }

  async function measureDelay() {
    if (jam.run || jam.mic !== "on") jam.note = "switch the microphone on, and stop the music, to measure";
    else {
      jam.note = "listening for a chirp …";
      changed();
      // a loop back: tests have no air between speaker and microphone
      const seconds = await measureRoundTrip(context, microphone.source, jam.loopback);
      if (seconds === null) jam.note = "the microphone did not hear the chirp: no headphones, louder speaker";
      else {
        Object.assign(jam, {
          roundTrip: seconds,
          measured: true,
          note: `round trip ${Math.round(1000 * seconds)} ms`,
        });
        align();
      }
    }
    changed();
  }

  function dispose() {
    useMicrophone(false);
    midi?.then(forgetMidi, () => {});
    setTimeout(() => context?.close(), 300);
  }

  return {
    wake,
    connect,
    disconnect,
    dispose,
    takeYours,
    silence: () => synth?.silence(),
    delayed: () => (microphone ? jam.roundTrip : 0), // seconds by which what is captured is late
    context: () => context,
    state: () => context?.state,
    forViews: { level, useMicrophone, usePicked, usePassed, useKeys, press, release, measureDelay },
  };
}
