// For the modules of lmdm_mini/widgets, which run in a browser without a build step.
import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    files: ["**/*.js"],
    languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: globals.browser },
    rules: {
      "max-lines": ["error", 400],
      "max-len": ["error", { code: 110, ignoreTemplateLiterals: true, ignoreStrings: true }],
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: "error",
      complexity: ["error", 30],
    },
  },
  // the audio thread has its own globals
  { files: ["**/worklet.js"], languageOptions: { globals: globals.audioWorklet } },
];
