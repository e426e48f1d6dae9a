// A small synth for those without a microphone: notes from the computer's keyboard and from Web MIDI.

export const KEYS = "awsedftgyhujkolp"; // two rows as a piano: a is C
export const NOTES = Object.fromEntries([...KEYS].map((key, i) => [key, 60 + i]));

// An electric piano: two sines, the second bends the first and dies away sooner.
export class Synth {
  constructor(context, out) {
    this.context = context;
    this.out = new GainNode(context, { gain: 0.22 });
    this.out.connect(out);
    this.playing = new Map(); // note -> voice
  }
  on(note, velocity = 0.8) {
    this.off(note);
    const { context } = this,
      now = context.currentTime,
      hertz = 440 * 2 ** ((note - 69) / 12);
    const carrier = new OscillatorNode(context, { frequency: hertz });
    const modulator = new OscillatorNode(context, { frequency: 2 * hertz });
    const depth = new GainNode(context),
      level = new GainNode(context, { gain: 0 });
    depth.gain.setValueAtTime(1.6 * hertz * velocity, now);
    depth.gain.setTargetAtTime(0.15 * hertz, now, 0.25);
    level.gain.setTargetAtTime(velocity, now, 0.004);
    level.gain.setTargetAtTime(0.35 * velocity, now + 0.05, 0.8);
    modulator.connect(depth).connect(carrier.frequency);
    carrier.connect(level).connect(this.out);
    carrier.start(now);
    modulator.start(now);
    this.playing.set(note, { carrier, modulator, level });
  }
  off(note) {
    const voice = this.playing.get(note);
    if (!voice) return;
    this.playing.delete(note);
    const now = this.context.currentTime;
    voice.level.gain.cancelScheduledValues(now);
    voice.level.gain.setTargetAtTime(0, now, 0.06);
    voice.carrier.stop(now + 0.5);
    voice.modulator.stop(now + 0.5);
  }
  silence() {
    for (const note of [...this.playing.keys()]) this.off(note);
  }
}

// Notes of every MIDI instrument that is there, now or later, for a `synth`. Returns the access; throws
// if the browser has none.
export async function listenToMidi(synth) {
  if (!navigator.requestMIDIAccess) throw new Error("this browser has no Web MIDI");
  const access = await navigator.requestMIDIAccess();
  const hear = ({ data: [status, note, velocity] }) => {
    const kind = status & 0xf0;
    if (kind === 0x90 && velocity) synth.on(note, velocity / 127);
    else if (kind === 0x80 || kind === 0x90) synth.off(note);
  };
  const connect = () => {
    for (const input of access.inputs.values()) input.onmidimessage = hear;
  };
  connect();
  access.onstatechange = ({ port }) => {
    if (port.state === "disconnected") synth.silence(); // a key may have been down
    connect();
  };
  return access;
}

export function forgetMidi(access) {
  access.onstatechange = null;
  for (const input of access.inputs.values()) input.onmidimessage = null;
}
