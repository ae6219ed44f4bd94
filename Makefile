# The commands of the project; `make help` lists them.
# Everything is installed into .venv, and only what is missing.

PORT ?= 8000
BIN := .venv/bin
READY := .venv/.ready
export NO_MKDOCS_2_WARNING = 1
export JUPYTER_PLATFORM_DIRS = 1
# Python is started hundreds of times, and should not compile all anew then.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help start lab test test-browsers test-copies test-rest lint run clean

help:  ## list these commands
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

start: $(READY)  ## build the site and serve it; PORT=8080 for another port
	@$(BIN)/python docs/machinery/serve.py $(PORT)

lab: $(READY)  ## open the chapters in JupyterLab
	@$(BIN)/jupyter lab notebooks \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate

test: $(READY) lint  ## run everything that proves the project
	@.ci/ensure "command -v chromium || command -v google-chrome" chromium \
	  "a browser is needed to test the site"
	@.ci/ensure "command -v firefox-esr || command -v firefox" firefox-esr \
	  "Firefox is needed to test the site in it, too"
	@.ci/ensure "$(BIN)/playwright --version" libatomic1 \
	  "libatomic is needed by what drives the browser"
	@$(BIN)/python docs/machinery/live/bundle.py >/dev/null
	@echo "· what opens browsers; all else runs beside it and reports last"
	@$(MAKE) --no-print-directory --jobs=3 test-browsers test-copies test-rest

# Three lanes for two cores: two of them wait much, for servers and time-outs.
# What opens a browser and is not in the first disturbs the one that is there:
# slower, and not wrong. Tests of snippets and their copies have to be in one.
COPY := tests/test_copy.py::test_a_copy_passes_its_own_test_and_is_covered
BROWSERS := $(filter-out %_faults.py %_serve.py,$(wildcard tests/site/test_*.py)) \
  tests/claims/test_browser.py tests/live/test_sockets.py \
  tests/snippets/test_chat.py tests/snippets/testing/test_browser.py \
  '$(COPY)[testing.browser]'
COPIES := tests/test_copy.py tests/snippets tests/live/test_chapters.py \
  tests/notebooks/test_notebooks.py

test-browsers:
	@$(BIN)/pytest $(BROWSERS)

test-copies:
	@$(call at-its-end,$(BIN)/pytest $(COPIES) $(BROWSERS:%=--deselect=%))

test-rest:
	@$(call at-its-end,$(BIN)/pytest $(BROWSERS:%=--deselect=%) \
	  $(COPIES:%=--deselect=%))

# Run a command, and show only then what it has said.
at-its-end = report=$$(mktemp); $(1) >$$report 2>&1; status=$$?; \
  cat $$report; rm $$report; exit $$status

lint: $(READY)  ## check style, types, spelling and notebooks
	@echo "· ruff, ty, codespell, notebooks"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/ty check --quiet
	@$(BIN)/codespell
	@$(BIN)/python notebooks check

run: $(READY)  ## run chapters and store their outputs; CHAPTERS="01 02" for some
	@$(BIN)/python notebooks run $(CHAPTERS)

clean:  ## remove everything that was made
	rm -rf .venv .work site .pytest_cache .ruff_cache .hypothesis .coverage*

$(READY): pyproject.toml constraints.txt .ci/install
	@.ci/install
	@touch $@
