/** Packs of custom nodes for the stand-in ComfyUI, as files of a repository: good ones and bad ones. */
import type { RepositoryFiles } from "./git-server.ts";

/** A node class that inverts a picture, under a name of its own. */
function invertClass(name: string): string {
  return `class ${name}:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "stand-in"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        return ([picture.inverted() for picture in image],)


NODE_CLASS_MAPPINGS = {"${name}": ${name}}
`;
}

/** Brings the class `StandInInvert`, and needs nothing. */
export function goodPack(): RepositoryFiles {
  return {
    "__init__.py": 'from .invert import NODE_CLASS_MAPPINGS\n\n__all__ = ["NODE_CLASS_MAPPINGS"]\n',
    "invert.py": invertClass("StandInInvert"),
    "README.md": "A pack for tests.\n",
  };
}

/** Fails to import, with these words. */
export function brokenPack(reason = "this pack was made to fail"): RepositoryFiles {
  return { "__init__.py": `raise RuntimeError(${JSON.stringify(reason)})\n` };
}

/** Imports `standin_tensor`, of one version: two such packs with different versions cannot agree. */
export function tensorPack(className: string, version: string): RepositoryFiles {
  return {
    "__init__.py": `import standin_tensor\n\nassert standin_tensor.__version__ == "${version}"\n\n\n${invertClass(className)}`,
    "requirements.txt": `standin-tensor==${version}\n`,
  };
}

/** Imports something that its requirements do not name (F24). */
export function forgetfulPack(): RepositoryFiles {
  return { "__init__.py": `import standin_nowhere\n\n\n${invertClass("StandInForgetful")}` };
}

/** Its `install.py` writes `installed.txt` into the pack, with where it ran and by which Python. */
export function scriptedPack(): RepositoryFiles {
  return {
    "__init__.py": invertClass("StandInScripted"),
    "install.py": `import os
import sys

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "installed.txt"), "a") as stream:
    stream.write(f"{os.getcwd()}\\n{sys.executable}\\n")
`,
  };
}

/** Its `install.py` fails. */
export function failingScriptPack(): RepositoryFiles {
  const script =
    'import sys\n\nprint("the script was made to fail", file=sys.stderr)\nsys.exit(3)\n';
  return { "__init__.py": invertClass("StandInFailingScript"), "install.py": script };
}

/** Takes so long to import. */
export function slowPack(seconds: number): RepositoryFiles {
  return {
    "__init__.py": `import time\n\ntime.sleep(${seconds})\n\n\n${invertClass("StandInSlow")}`,
  };
}
