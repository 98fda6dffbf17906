# VoIPfleet. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

IMAGES := bookworm-db trixie-sensor

.PHONY: help docs venv packages test unit lint integration molecule demo demo-down bench fuzz soak clean

# What the tests use of Debian's packages; installed by `make packages` where something is missing.
PACKAGES := sip-tester tshark sngrep tcpdump tcpreplay mariadb-server mariadb-client libpcap0.8 iproute2 nftables \
    systemd systemd-container mmdebstrap openssh-client \
    strace libfaketime e2fsprogs

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

venv: $(VENV)/.ready
$(VENV)/.ready: sensor/requirements/dev.txt sensor/pyproject.toml
	@echo "== Python packages into $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r sensor/requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable sensor
	@touch $@

lint: venv ## style of the Python code and of the roles
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline -q

# Out of its package, not installed: no server is to start for it.
.build/promtool:
	@mkdir -p .build && cd .build && { { apt-get download -qq prometheus 2>/dev/null || \
	  { apt-get update -qq && apt-get download -qq prometheus; }; } && \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool > promtool.part && \
	  chmod +x promtool.part && mv promtool.part promtool; } || echo "no promtool; the tests that need it are skipped"; \
	rm -f prometheus_*.deb promtool.part

unit: venv .build/promtool ## the tests that need neither root nor servers
	@$(BIN)/pytest -q -n 2 $(wildcard tests/unit tests/topology)

docs: venv ## write docs/keys.md and the roles' argument_specs anew, from the option table
	@$(BIN)/python -m voipfleet.reference .

packages: ## install the Debian packages that the tests need (root)
	@missing=$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "missing packages: $$missing; run this as root, or: apt-get install $$missing" >&2; exit 1; }; \
	  echo "== installing" $$missing; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

integration: venv ## the tests with real parts: MariaDB, sipp, AF_PACKET in namespaces, and faults (root)
	@$(BIN)/pytest -q -n 3 --dist loadfile -m "not soak" tests/integration tests/faults

demo: venv ## three real hosts on this machine, rolled out, with real calls (root); demo-down takes them back
	@$(BIN)/python molecule/resources/demo.py up

demo-down: venv ## end the demo's hosts and take back what the demo changed
	@$(BIN)/python molecule/resources/demo.py down

molecule: venv ## rollouts on hosts of their own (root), one scenario after the other
	@PATH="$(CURDIR)/$(BIN):$$PATH" molecule test --all

bench: venv packages ## measure: the analysis beside its peers, a live sensor, what a central stores a second (root, 15 min)
	@$(BIN)/python benchmarks/offline.py
	@$(BIN)/python benchmarks/live.py
	@$(BIN)/python benchmarks/mirror.py
	@$(BIN)/python benchmarks/packetstore.py
	@$(BIN)/python benchmarks/keeping.py
	@$(BIN)/python benchmarks/ingest.py
	@$(BIN)/python benchmarks/search.py --records 1000000
	@$(BIN)/python benchmarks/fleet.py

TARGET ?= all
SECONDS ?= 60
fuzz: $(VENV)/.fuzz ## look for input that breaks a parser: make fuzz TARGET=sip SECONDS=60, or INPUT=file to replay
	@$(BIN)/python tests/fuzz/run.py $(TARGET) --seconds $(SECONDS) $(if $(INPUT),--input $(INPUT))

$(VENV)/.fuzz: $(VENV)/.ready sensor/requirements/fuzz.txt
	@$(BIN)/python -m pip install --quiet --require-hashes -r sensor/requirements/fuzz.txt
	@touch $@

# Faults one after the other, since several of them measure, but for the outage of ten minutes, in which nothing happens
# and which runs beside; then the fuzz targets, two at a time.
soak: venv packages $(VENV)/.fuzz ## all faults of docs/faults.md, then each fuzz target for two minutes (root, 45 min)
	@rm -f .build/faults.json && mkdir -p .build
	@export VOIPFLEET_FAULTS=.build/faults.json; status=0; \
	$(BIN)/pytest -q tests/faults -k "row12 and 600" >.build/outage.log 2>&1 & outage=$$!; \
	$(BIN)/pytest -q tests/faults -k "not (row12 and 600)" || status=1; \
	wait $$outage || status=1; tail -n 1 .build/outage.log; \
	cp .build/faults.json docs/faults.json; PYTHONPATH=tests $(BIN)/python -m faults.report --check || status=1; \
	targets=$$(PYTHONPATH=tests $(BIN)/python -c "from fuzz.targets import TARGETS; print(*TARGETS)"); \
	printf '%s\n' $$targets | xargs -P 2 -I{} $(BIN)/python tests/fuzz/run.py {} --seconds 120 || status=1; \
	echo "soak: $$([ $$status = 0 ] && echo all is well || echo something failed, see above)"; exit $$status

# Images of the scenarios' hosts are made while tests run; most of that is waiting for a mirror.
test: venv packages ## everything that CI runs
	@mkdir -p .build; molecule/resources/bed/bed image $(IMAGES) >.build/images.log 2>&1 </dev/null &
	@$(MAKE) --no-print-directory lint unit integration molecule

clean: ## remove what the build made in this folder
	rm -rf $(VENV) .build
