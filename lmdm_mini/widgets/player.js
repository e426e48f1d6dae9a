// The browser's half of StreamPlayer (player.py): an anywidget module, no build step. browser.py joins it
// with what it imports.

import { makeEngine } from "./player_session.js";
import { showPlayer } from "./player_view.js";

const engines = new Map(); // player_id -> engine: one a widget, however many views

export default {
  initialize({ model }) {
    const id = model.get("player_id"),
      engine = makeEngine(model);
    engines.set(id, engine);
    return () => {
      engine.dispose();
      engines.delete(id);
    };
  },
  render: ({ model, el }) => showPlayer(engines.get(model.get("player_id")), model, el),
};
