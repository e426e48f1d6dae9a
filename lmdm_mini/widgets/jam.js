// The browser's half of JamSession (jam.py): an anywidget module, no build step. browser.py joins it with
// what it imports.

import { makeJam } from "./jam_session.js";
import { showJam } from "./jam_view.js";

const jams = new Map(); // jam_id -> jam: one a widget, however many views

export default {
  initialize({ model }) {
    const id = model.get("jam_id"),
      jam = makeJam(model);
    jams.set(id, jam);
    return () => {
      jam.dispose();
      jams.delete(id);
    };
  },
  render: ({ model, el }) => showJam(jams.get(model.get("jam_id")), model, el),
};
