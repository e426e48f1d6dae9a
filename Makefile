# `make` alone lists what can be made. Needs GNU make and Python 3.11 or newer; everything else is
# installed into the folder .venv next to this file, so deleting .venv undoes it.
#
# Variables:  PYTHON=python3.12      which Python makes the environment
#             PIP_ARGS="..."         more arguments for pip
#             ARGS="..."             more arguments for the program a target ends in

PY := .venv/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3
START := notebooks/00_start_here.ipynb

# Debian packages. Tests need the first list; building the corpus needs the second.
TEST_PACKAGES := chromium libfluidsynth3 fluid-soundfont-gm ffmpeg g++
CORPUS_PACKAGES := libfluidsynth3 fluid-soundfont-gm musescore-general-soundfont csound-soundfont \
                   opl3-soundfont avldrums.lv2-soundfont hydrogen-drumkits sonic-pi-samples ffmpeg g++

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help lab check test test-full book corpus lint-js say-lab say-check say-test say-test-full say-book say-corpus \
        test-packages corpus-packages

help:
	@echo "LMDM-mini: live music diffusion models, small enough to read"
	@echo
	@echo "  make lab        install into .venv and open JupyterLab at the first chapter"
	@echo "  make test       install what tests need, run the tests and every notebook"
	@echo "  make check      format, lint, types and the quick tests: three minutes"
	@echo "  make test-full  the same as make test with the slow tests"
	@echo "  make book       render the notebooks to HTML, with their sounds, into book/"
	@echo "  make corpus     build the 26 hours of training music"
	@echo
	@echo "The first run of any of them installs about 6 GB (PyTorch is most of it): 5 to 15 minutes."
	@echo "A small download without GPU support, on Linux:"
	@echo "  make lab PIP_ARGS=\"--extra-index-url https://download.pytorch.org/whl/cpu\""

# ---------------------------------------------------------------- what a reader runs

say-lab:
	@echo "make lab: opens JupyterLab at $(START)."
	@echo "  The first run installs into .venv: 5 to 15 minutes. Later runs: a few seconds. Ctrl-C ends it."

lab: say-lab .venv/.stamp-lab
	@root=; if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; \
	exec $(PY) -m jupyterlab $$root $(START) $(ARGS)

say-test:
	@echo "make test: runs the tests and every notebook, from top to bottom."
	@echo "  The first run installs into .venv: 5 to 15 minutes. The tests: 25 to 35 minutes on two cores."

# A process a core, of one thread each, for all but the chapters, which use both cores themselves, and the
# browser, whose tests play in real time. ARGS may leave one of the two without a test: pytest says that with 5.
SPREAD := -n logical --maxprocesses=4 --dist=worksteal

test: say-test .venv/.stamp-test
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow and not browser and not notebook" $(SPREAD) --durations=8 $(ARGS) || [ $$? = 5 ]
	@$(PY) -m pytest -m "(browser or notebook) and not slow" --durations=8 $(ARGS) || [ $$? = 5 ]

say-check:
	@echo "make check: the format, the linter, the types and the quick tests."
	@echo "  The first run installs into .venv: 5 to 15 minutes. Later runs: under three minutes."

check: say-check .venv/.stamp-test
	@.venv/bin/ruff format --check lmdm_mini tests
	@.venv/bin/ruff check lmdm_mini tests
	@.venv/bin/pyrefly check --output-format min-text
	@OMP_NUM_THREADS=1 $(PY) -m pytest -m "not slow and not notebook and not browser and not long" $(SPREAD) --durations=5 -q $(ARGS)

say-test-full:
	@echo "make test-full: all tests, the slow ones too, and every notebook, and prints the coverage."
	@echo "  The first run installs into .venv: 5 to 15 minutes. The tests: 35 to 45 minutes on two cores."

test-full: say-test-full .venv/.stamp-test
	@$(PY) -m pytest --durations=8 --cov --cov-report=term $(ARGS)

say-book:
	@echo "make book: renders the notebooks as they are (nothing is run) to book/*.html."
	@echo "  The first run installs into .venv: 5 to 15 minutes. Rendering: a few seconds a chapter."

book: say-book .venv/.stamp-book
	@$(PY) -m lmdm_mini.book $(ARGS)

say-corpus:
	@echo "make corpus: renders 26 hours of multi-stem music into runs/corpus, gives it effects in"
	@echo "  runs/produced (18 GB each) and fetches real recordings into runs/recordings (a download of"
	@echo "  about 700 MB), and encodes it; stop and go on as you like."
	@echo "  The first run installs into .venv: 5 to 15 minutes. On two cores: rendering one to two hours,"
	@echo "  effects two, latents one and a half."

corpus: say-corpus corpus-packages .venv/.stamp-test
	@$(PY) -m lmdm_mini corpus recordings
	@$(PY) -m lmdm_mini corpus build --hours 26 --seed 0 $(ARGS)
	@$(PY) -m lmdm_mini corpus produce
	@$(PY) -m lmdm_mini corpus encode

# The widgets' JavaScript: rules and layout. Node.js is needed for this alone, not to run anything.
JS := lmdm_mini/widgets/*.js

lint-js: .ci/node_modules/.stamp
	@.ci/node_modules/.bin/eslint --config .ci/eslint.config.js lmdm_mini/widgets
	@.ci/node_modules/.bin/prettier --config .ci/prettier.json --log-level warn --check $(JS)

.ci/node_modules/.stamp: .ci/package-lock.json
	@command -v npm >/dev/null || { echo "lint-js needs Node.js (npm): https://nodejs.org" >&2; exit 1; }
	@cd .ci && npm ci --no-audit --no-fund --silent
	@touch $@

# ---------------------------------------------------------------- the environment
# A stamp is written when an installation has succeeded, and is out of date when pyproject.toml changes.

.venv/.stamp-venv:
	@ok='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if [ -x $(PY) ] && $(PY) -c "$$ok" 2>/dev/null && $(PY) -m pip --version >/dev/null 2>&1; then \
	    touch $@; exit 0; \
	fi; \
	found=; \
	for p in $(PYTHONS); do \
	    if "$$p" -c "$$ok" >/dev/null 2>&1; then found="$$p"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No Python 3.11 or newer found (tried: $(strip $(PYTHONS)))." >&2; \
	    echo "Install one (https://www.python.org/downloads/)" >&2; \
	    echo "or name it: make lab PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	fi; \
	echo "Making .venv with $$found ($$("$$found" --version))"; \
	"$$found" -m venv --clear .venv || { \
	    echo "$$found cannot make virtual environments. On Debian and Ubuntu:" >&2; \
	    echo "  sudo apt-get install python3-venv" >&2; \
	    exit 1; \
	}; \
	touch $@

.venv/.stamp-lab: pyproject.toml | .venv/.stamp-venv
	@$(PIP) $(PIP_ARGS) -e .
	@touch $@

.venv/.stamp-book: .venv/.stamp-lab
	@$(PIP) $(PIP_ARGS) -e ".[book]"
	@touch $@

.venv/.stamp-test: pyproject.toml | .venv/.stamp-venv test-packages
	@$(PIP) $(PIP_ARGS) -e ".[corpus,dev,book]"
	@touch .venv/.stamp-lab $@

# ---------------------------------------------------------------- packages of the system

test-packages: | .venv/.stamp-venv
	@$(call install-missing,$(TEST_PACKAGES))

corpus-packages: | .venv/.stamp-venv
	@$(call install-missing,$(CORPUS_PACKAGES))

# Looks for what a package brings, not for the package, so that other systems' ways to have it count too.
# Never fatal: what then is missing is named here, and by the test that needs it.
define install-missing
has() { command -v "$$1" >/dev/null 2>&1; }; \
find_fluidsynth="import sys, ctypes.util as c; sys.exit(not c.find_library('fluidsynth'))"; \
missing=; \
for package in $(1); do \
    case $$package in \
        chromium) has chromium || has chromium-browser || has google-chrome ;; \
        libfluidsynth3) $(PY) -c "$$find_fluidsynth" ;; \
        fluid-soundfont-gm) [ -e /usr/share/sounds/sf2/FluidR3_GM.sf2 ] ;; \
        musescore-general-soundfont) ls /usr/share/sounds/sf*/MuseScore_General.sf* >/dev/null 2>&1 ;; \
        csound-soundfont) [ -e /usr/share/sounds/sf2/sf_GMbank.sf2 ] ;; \
        opl3-soundfont) [ -e /usr/share/sounds/sf2/OPL-3_FM_128M.sf2 ] ;; \
        avldrums.lv2-soundfont) [ -e /usr/share/sounds/sf2/Black_Pearl_4_LV2.sf2 ] ;; \
        hydrogen-drumkits) [ -d /usr/share/hydrogen/data/drumkits/VariBreaks ] ;; \
        sonic-pi-samples) [ -d /usr/share/sonic-pi/samples ] ;; \
        g++) has c++ || has g++ || has clang++ ;; \
        *) has $$package ;; \
    esac || missing="$$missing $$package"; \
done; \
if [ -z "$$missing" ]; then exit 0; fi; \
echo "Missing from the system:$$missing"; \
sudo=none; \
if [ "$$(id -u)" = 0 ]; then sudo=; elif has sudo && sudo -n true 2>/dev/null; then sudo="sudo -n"; fi; \
if has apt-get && [ "$$sudo" != none ]; then \
    echo "Installing with apt-get: one or two minutes."; \
    $$sudo apt-get update -qq; \
    if $$sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $$missing; then exit 0; fi; \
fi; \
echo "Please install what is missing, then run this again. What needs it fails or is skipped until then."; \
case "$$(uname -s)" in \
    Darwin) echo "  brew install fluid-synth ffmpeg && brew install --cask chromium" ;; \
    *) echo "  sudo apt-get install$$missing" ;; \
esac
endef
