/** Arguments of ComfyUI that are not for a manifest, and what to use instead. */
const RESERVED: Readonly<Record<string, string>> = {
  "--port": "`instances.basePort`",
  "--listen": "`instances.host`",
  "--tls-keyfile": "a proxy in front of the control plane: instances are spoken to by plain HTTP",
  "--tls-certfile": "a proxy in front of the control plane: instances are spoken to by plain HTTP",
  "--base-directory": "nothing: the folders are the machine's",
  "--input-directory": "nothing: the folders are the machine's",
  "--output-directory": "nothing: the folders are the machine's",
  "--temp-directory": "nothing: the folders are the machine's",
  "--user-directory": "nothing: the folders are the machine's",
  "--extra-model-paths-config": "`modelFolders.extraPaths`",
  "--cpu": "`instances.cpu`, which makes instances without a GPU",
  "--cuda-device": "`instances.gpus`",
  "--default-device": "`instances.gpus`",
  "--reserve-vram": "`instances.vramReserveGb`",
  "--auto-launch": "nothing: there is no browser here",
  "--windows-standalone-build": "nothing: it opens a browser",
  "--quick-test-for-ci": "nothing: it ends ComfyUI as soon as it has started",
};

/** Why an argument cannot be given by the manifest; undefined when it can. */
export function flagProblem(flag: string): string | undefined {
  if (flag === "") return "an empty argument: remove it";
  if (!flag.startsWith("-")) return undefined;
  const name = /^[^=\s]*/.exec(flag)?.[0] ?? "";
  const reserved = Object.keys(RESERVED).find((one) => isSame(name, one));
  if (reserved !== undefined) {
    return `${reserved} is set by the installer or the supervisor: use ${RESERVED[reserved]}`;
  }
  if (/\s/.test(flag) && !flag.includes("=")) {
    return `expected one argument an entry, found ${JSON.stringify(flag)}: write its parts one below the other`;
  }
  return undefined;
}

/** ComfyUI's argument parser takes every unambiguous beginning: `--por` is `--port`. */
function isSame(name: string, reserved: string): boolean {
  return name === reserved || (name.length > 3 && reserved.startsWith(name));
}
