"""Who may import whom: layers hold, whichever way a module is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dicom_workflow"

# Package → layer. A package imports from the layers below it; packages of one layer
# may use one another where NEVER does not forbid it.
LAYERS = {
    "errors": 0,
    "settings": 0,
    "storage": 0,
    "provenance": 0,
    "http_server": 0,
    "processes": 0,
    "formats": 1,
    "dicom": 2,
    "archive": 3,
    "synthetic": 3,
    "labeling": 3,
    "groundtruth": 4,
    "learning": 4,
    "search": 4,
    "simulation": 5,
    "aws": 5,
    "viz": 5,
    "pipeline": 6,
    "cli": 7,
}

# Labeling and learning meet at a manifest file; search may use learning.model and learning.inference.
NEVER = {
    "labeling": {"dicom", "archive", "synthetic"},
    "groundtruth": {"learning", "search"},
    "learning": {"labeling", "groundtruth", "search"},
    "search": {"groundtruth"},  # its hits become suggestions of a labeling job
}

# What a package may import besides the standard library. Pipeline, viz and cli may use everything that requirements.txt names.
THIRD_PARTY = {
    "errors": set(),
    "settings": {"dotenv"},
    "formats": set(),
    "provenance": {"monai", "numpy", "torch"},
    "storage": {"boto3", "botocore"},
    "dicom": {"pydicom", "numpy", "PIL", "gdcm", "pylibjpeg", "openjpeg", "jpeglib"},
    "archive": {"requests", "dicomweb_client", "pydicom", "numpy", "PIL", "tqdm", "pandas", "botocore", "retrying"},
    "labeling": {"boto3", "botocore", "liquid", "markupsafe", "requests", "tqdm"},
    "groundtruth": {
        *("argon2", "boto3", "botocore", "liquid", "fastapi", "starlette", "uvicorn", "requests", "pydicom", "numpy", "tqdm"),
        *("psycopg", "psycopg_pool"),  # for who names a PostgreSQL database; imported inside a function
    },
    "learning": {
        *("torch", "monai", "numpy", "safetensors", "pydicom", "tqdm", "uvicorn"),
        *("highdicom", "onnx", "onnxruntime", "onnxscript"),  # for who writes reports or exports; imported inside functions
        "mlflow",  # for who asks for it by --tracking; imported inside functions
    },
    "search": {
        *("numpy", "pydicom", "PIL", "pandas", "tqdm", "boto3", "botocore"),
        *("lancedb", "pyarrow", "tantivy", "psycopg", "psycopg_pool", "pgvector", "opensearchpy"),
        *("strawberry", "graphql", "fastapi", "starlette", "anyio", "uvicorn", "jwt"),
        *("anywidget", "traitlets"),  # the widget
        *("requests", "torch", "simple_icd_10_cm"),  # an issuer, a similarity map, codes; inside functions
    },
}

# The two Lambda functions ship with these modules and nothing else.
LAMBDA = {
    "errors",
    *(f"formats.{name}" for name in ("answers", "ground_truth", "json_schema", "labels", "object_reference")),
    *(f"labeling.{name}" for name in ("lambda_handlers", "consolidation")),
    *(f"labeling.tasks.{name}" for name in ("protocol", "registry", "radiograph.task")),
}

# Who may read an environment variable, and why. Handing the whole environment on to a process, `{**os.environ, …}`, reads none.
READS_ENVIRONMENT = {
    "settings": "the one way in",
    "labeling.lambda_handlers": "a Lambda function is configured by its environment",
    "pipeline.demo": "the kernels of its notebooks inherit the workspace",
    "learning.training.distributed": "torchrun tells each process its place",
    "aws.stacks.tables": "COLUMNS says how wide the terminal is, as to every program",
    "learning.model.architectures": "MLflow is told there not to report its use",
    "learning.training.hardware": "cuBLAS reads its workspace setting from there only",
}


def module_name(path: Path) -> str:
    """``labeling.output`` for dicom_workflow/labeling/output.py; ``labeling`` for its __init__."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}


def imports_of(path: Path, *, in_functions: bool = True) -> Iterator[str]:
    """Every imported module by its full name, also those imported inside functions or for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if not in_functions and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule.removeprefix("dicom_workflow.") in MODULES else str(node.module)


def own_imports(module: str, *, in_functions: bool = True) -> set[str]:
    """The modules of this package that a module imports, without the package's name."""
    names = imports_of(MODULES[module], in_functions=in_functions)
    return {name.removeprefix("dicom_workflow.") for name in names if name.startswith("dicom_workflow.")}


def third_party(module: str, *, in_functions: bool = True) -> set[str]:
    roots = {name.partition(".")[0] for name in imports_of(MODULES[module], in_functions=in_functions)}
    return roots - set(sys.stdlib_module_names) - {"dicom_workflow"}


def package_of(module: str) -> str:
    return module.partition(".")[0]


def test_every_package_has_its_layer() -> None:
    assert not {package_of(module) for module in MODULES} - LAYERS.keys(), "say in LAYERS where the new package stands"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_above_or_from_next_door(module: str) -> None:
    imported = {package_of(name) for name in own_imports(module)} - {package_of(module)}
    above = {name for name in imported if LAYERS[name] > LAYERS[package_of(module)]}
    assert not above, f"{module} stands in layer {LAYERS[package_of(module)]} and imports from above: {above}"
    assert not imported & NEVER.get(package_of(module), set())


def test_no_two_modules_need_each_other() -> None:
    """In-function imports included: a circle that is only put off is still one.

    Only a package's `__init__` may import its own modules inside a function, as `archive.open_archive` does.
    """
    needs = {
        module: {
            name
            for name in own_imports(module)
            if not (name.startswith(f"{module}.") and name not in own_imports(module, in_functions=False))
        }
        for module in MODULES
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("module", [name for name in MODULES if package_of(name) in THIRD_PARTY])
def test_a_package_imports_only_the_libraries_that_it_may(module: str) -> None:
    assert third_party(module) <= THIRD_PARTY[package_of(module)]


@pytest.mark.parametrize("module", sorted(LAMBDA))
def test_the_lambda_functions_need_the_standard_library_only(module: str) -> None:
    assert own_imports(module) <= LAMBDA
    assert third_party(module, in_functions=False) == set()
    assert third_party(module) <= ({"boto3", "botocore"} if module == "labeling.lambda_handlers" else set())


@pytest.mark.parametrize("module", MODULES)
def test_no_module_reads_the_environment_but_those_that_say_why(module: str) -> None:
    if module in READS_ENVIRONMENT:
        return
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    dicts = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    handed_on = {id(value) for node in dicts for key, value in zip(node.keys, node.values, strict=True) if key is None}
    for node in ast.walk(tree):
        names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) and node.module == "os" else set()
        assert not names & {"environ", "environb", "getenv"}, f"{module}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr not in ("getenv", "getenvb", "environb", "putenv"), f"{module}, line {node.lineno}"
            assert node.attr != "environ" or id(node) in handed_on, f"{module}, line {node.lineno}"


@pytest.mark.parametrize("path", sorted((ROOT / "source").glob("*.py")), ids=lambda path: path.name)
def test_what_sagemaker_runs_stands_on_learning_alone(path: Path) -> None:
    own = {name.split(".")[1] for name in imports_of(path) if name.startswith("dicom_workflow.")}
    assert own <= {"learning", "errors", "formats", "storage", "provenance"}


def modules_after(statement: str, *flags: str) -> set[str]:
    """The top-level modules in memory after a statement, in a Python of its own."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"numpy", "torch", "monai", "pydicom", "boto3", "requests", "fastapi", "matplotlib", "pandas", "liquid", "asyncio"}
    assert not modules_after("import dicom_workflow") & heavy


def test_who_deploys_waits_for_no_framework() -> None:
    modules = "import dicom_workflow.aws, dicom_workflow.aws.stacks.deploy, dicom_workflow.aws.stacks.destroy"
    assert not modules_after(modules) & {"torch", "monai", "numpy", "pydicom", "boto3", "fastapi"}


def test_the_lambda_functions_can_be_imported_where_nothing_is_installed() -> None:
    loaded = modules_after("import dicom_workflow.labeling.lambda_handlers", "-I", "-S")
    assert loaded - set(sys.stdlib_module_names) <= {"dicom_workflow", "__main__"}
