# The commands that a newcomer needs. VERBOSE=1 shows what the phases print.

PY := .venv/bin/python
PHASE := stack/phase.sh
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# Bytecode is kept: hundreds of processes would compile the same modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help verify test test-full bench sanitize sanitize-python fuzz lint wheel stack-up stack-down clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

verify: ## install what is missing, build, start the light stack, verify it
	@$(PHASE) "Distribution packages" stack/bootstrap.sh build light
	@$(PHASE) "Python environment, C extension, servers" $(MAKE) -j2 extension fetch-light
	@$(PHASE) "Servers started" $(PY) -m stack up
	@$(PHASE) "Migrations" $(PY) manage.py migrate_databases
	@echo; $(PY) manage.py verify_database_integration --all; status=$$?; \
	 echo; echo "The servers go on running. Stop them: $(PY) -m stack stop   Remove them and their data: $(PY) -m stack down"; \
	 exit $$status

# One environment for everything: the runtime, the emulators, the test tools, the peers that bench compares with.
.venv/ready: pyproject.toml setup.py constraints.txt
	python3 -m venv .venv
	$(PIP) install --upgrade -c constraints.txt pip setuptools
	$(PIP) install -c constraints.txt --no-build-isolation --editable '.[emulators,opentelemetry,prometheus]' \
		--group dev --group bench --group wheel
	touch $@

# Doris' other driver, which the tests use beside PyMySQL: it is compiled, with libmariadb.
.venv/drivers: .venv/ready
	$(PIP) install -c constraints.txt --group drivers
	touch $@

# The extension is built in place, by the installation too; this rebuilds it when a source is newer.
.PHONY: extension
extension: .venv/ready
	@built=$$($(PY) -c 'import dbint._core; print(dbint._core.__file__)' 2>/dev/null) && \
		[ -z "$$(find setup.py csrc/core csrc/binding -newer "$$built")" ] || \
		$(PY) setup.py --quiet build_ext --inplace

.PHONY: fetch-light fetch-faults
fetch-light fetch-faults: fetch-%:
	python3 -m stack fetch --profile $*

# Four workers for two cores: much of the time a test waits. A file at a time and in order: its tests share much.
# Each worker has servers of its own.
DIVIDED := --numprocesses 4 --dist loadfile --no-loadscope-reorder

test: ## C, Python, Django, integration, crash and browser tests, with their real servers
	@$(PHASE) "Distribution packages" stack/bootstrap.sh build light faults test
	@$(PHASE) "Python environment, C extension, servers" $(MAKE) -j2 extension .venv/drivers fetch-light fetch-faults
	@$(PHASE) "Lint and types" $(MAKE) lint
	@$(PHASE) "C tests" $(MAKE) -j2 c-tests build/collected
	$(PY) -m pytest tests $(DIVIDED) --junitxml build/pytest.xml

.PHONY: c-tests
c-tests:
	$(MAKE) -C csrc test purity

# The bytecode of tests with pytest's assertions: once, or each worker would compile all that are new.
build/collected: .venv/ready $(shell find tests -name '*.py')
	$(PY) -m pytest tests --collect-only --quiet >/dev/null
	mkdir -p build && touch $@

test-full: test test-rest ## the same, and what takes long

.PHONY: test-rest
test-rest: .venv/drivers
	@$(PHASE) "Sanitizers" $(MAKE) sanitize
	@$(PHASE) "C tests, more rounds" $(MAKE) -C csrc test DBINT_TEST_ROUNDS=10
	DBINT_TEST_ROUNDS=10 $(PY) -m pytest tests/unit/test_journal_tool.py tests/django/doris/test_round_trips.py
	$(PY) -m pytest tests -m long
	$(PY) -m tests.crash produce --rounds 20
	$(PY) -m tests.crash stream_load --rounds 20
	$(PY) -m tests.crash events --rounds 20
	$(PY) -m tests.crash flow --rounds 15
	$(PY) -m tests.django_suite

lint: .venv/ready ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

sanitize: sanitize-python fuzz ## C and Python under ASan and UBSan, C under TSan and with each allocation failing; fuzzing
	$(MAKE) -C csrc sanitize

fuzz: ## each fuzz target on FUZZ_RUNS mutated inputs (1,000,000)
	$(MAKE) -C csrc fuzz $(if $(FUZZ_RUNS),FUZZ_RUNS=$(FUZZ_RUNS))

# A package of its own, so that the extension in the checkout stays as it is. setup.py's own -O2 comes last.
SANITIZED := build/sanitized
SANITIZE := -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZED_TESTS := $(addprefix tests/unit/test_,$(addsuffix .py,core row_encoder pool writer breaker breaker_model \
	metrics kafka_options kafka_sending flow_sink_parts)) \
	$(addprefix tests/integration/test_,$(addsuffix .py,pool_postgres writer_postgres kafka_broker flow_capture flow_decode \
	flow_kjournal flow_snapshot))

sanitize-python: .venv/ready
	rm -rf $(SANITIZED)/lib/dbint/[!_]*
	CFLAGS="$(SANITIZE)" LDFLAGS="$(SANITIZE)" $(PY) setup.py --quiet build_py --build-lib $(SANITIZED)/lib \
		build_ext --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/objects
	tests/sanitized/python -m pytest -p no:cacheprovider $(SANITIZED_TESTS)

bench: .venv/ready ## each promise of speed beside its peers (NAME=produce for one)
	$(PY) -m bench $(or $(NAME),--all)

wheel: .venv/ready ## a wheel that carries libpq and librdkafka, in wheelhouse/
	rm -rf build/wheel wheelhouse
	$(PY) -m build --wheel --no-isolation --outdir build/wheel
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(PY) -m auditwheel repair --wheel-dir wheelhouse build/wheel/*.whl

stack-up: ## start the light stack
	$(PY) -m stack up

stack-down: ## stop the stack and remove its data
	$(PY) -m stack down

clean: ## remove what was built (not the stack, not the cache)
	rm -rf build wheelhouse *.egg-info dbint/_core*.so
	$(MAKE) -C csrc clean
