"""The module's own tests leave no input out."""

import re

import pytest
import render

DECLARED = dict(
    re.findall(
        r'^variable "(\w+)" \{\n(.*?)^\}', (render.MODULE / "variables.tf").read_text(), re.MULTILINE | re.DOTALL
    )
)
TESTS = {path.name: path.read_text() for path in (render.MODULE / "tests").glob("*.tftest.hcl")}


def test_the_inputs_and_their_tests_are_found() -> None:
    assert len(DECLARED) > 30
    assert len(TESTS) > 4


@pytest.mark.parametrize("name", DECLARED)
def test_its_effect_is_tested(name: str) -> None:
    effects = "".join(text for file, text in TESTS.items() if file != "validation.tftest.hcl")
    assert re.search(rf"^ +{name} += ", effects, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name, body in DECLARED.items() if "validation {" in body])
def test_both_sides_of_its_validation_are_tested(name: str) -> None:
    validation = TESTS["validation.tftest.hcl"]
    allowed = re.findall(r'^run "allowed_\w+" \{.*?^\}', validation, re.MULTILINE | re.DOTALL)
    assert len(allowed) == 2
    for run in allowed:
        assert re.search(rf"^ +{name} += ", run, re.MULTILINE)
    assert re.search(rf"\bvar\.{name}\b", validation)
