# Two commands: `make demo` shows it at work, `make test` runs the whole suite. Each sets up what it needs first; `make setup` does that alone.
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: setup demo test lint clean

setup: $(READY)

# Without a screen, pictures of it.
demo: $(READY)
	@if [ "$$(uname)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		echo "There is no screen here: the demo is written as pictures into demo-pictures/"; \
		$(VENV)/bin/medclipsam demo --headless demo-pictures; \
	else \
		$(VENV)/bin/medclipsam demo; \
	fi

# Two processes of one thread each: with more, on two cores, they would stand in each other's way.
test: $(READY)
	OMP_NUM_THREADS=1 scripts/with-display $(PYTHON) -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/npe2 validate src/napari_medclipsam/napari.yaml

$(READY): pyproject.toml constraints.txt scripts/setup
	scripts/setup $(VENV)
	touch $(READY)

clean:
	rm -rf $(VENV) build dist src/*.egg-info
