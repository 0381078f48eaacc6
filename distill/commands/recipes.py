"""`distill recipes ls | show NAME | cp NAME PATH`: find a start among the recipes that ship with the package."""

from __future__ import annotations

from pathlib import Path

from distill.commands.arguments import Arguments
from distill.errors import DistillError
from distill.files import write_whole
from teachers.base import nearest

RECIPES = Path(__file__).parents[1] / "recipes"


EXAMPLES = """\
examples:
  distill recipes ls
  distill recipes show kd_student
  distill recipes cp kd_student my.yaml
"""


def main(argv: list[str]) -> int:
    """List, show or copy."""
    args = _parser().parse(argv)
    if args.action == "ls":
        recipes = find_recipes()
        width = max((len(name) for name in recipes), default=0)
        for name, path in recipes.items():
            print(f"{name:<{width}}  {description(path)}")
        return 0
    if not args.name:
        raise DistillError(f"'distill recipes {args.action}' needs the name of a recipe{nearest('', find_recipes())}")
    if args.action == "show":
        print(_recipe(args.name).read_text(encoding="utf-8"), end="")
        return 0
    if not args.path:
        raise DistillError(f"where to? Say: distill recipes cp {_recipe(args.name).stem} my.yaml")
    target = copy_recipe(args.name, Path(args.path), args.force)
    verb = "generate" if "strateg" in target.read_text(encoding="utf-8") else "fit"
    print(f"{target}: edit it, then: distill {verb} --config {target}")
    return 0


def _parser() -> Arguments:
    parser = Arguments(
        "recipes", "Recipes for 'distill fit' and 'distill generate' that ship with the package.", epilog=EXAMPLES
    )
    parser.add_argument("action", nargs="?", default="ls", choices=["ls", "show", "cp"], help="ls is the default")
    parser.add_argument("name", nargs="?", help="of a recipe, for show and cp")
    parser.add_argument("path", nargs="?", help="for cp: a file, or a folder to put it into")
    parser.add_argument("--force", action="store_true", help="for cp: overwrite the file")
    return parser


def find_recipes() -> dict[str, Path]:
    """Name -> file, sorted by name; the name is the path below the recipes' folder without its ending."""
    return {str(path.relative_to(RECIPES).with_suffix("")): path for path in sorted(RECIPES.rglob("*.yaml"))}


def description(path: Path) -> str:
    """The first comment line of a recipe."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def copy_recipe(name: str, target: Path, force: bool = False) -> Path:
    """Copy a recipe to a file or into a folder; returns the file. Raises DistillError when it exists."""
    source = _recipe(name)
    if target.is_dir():
        target = target / source.name
    if target.exists() and not force:
        raise DistillError(f"{target} exists; give another path, or --force to overwrite it")
    write_whole(target, source.read_bytes())
    return target


def _recipe(name: str) -> Path:
    recipes = find_recipes()
    key = name.removesuffix(".yaml")
    if key not in recipes:
        raise DistillError(f"no recipe {name!r}{nearest(key, recipes)}")
    return recipes[key]
