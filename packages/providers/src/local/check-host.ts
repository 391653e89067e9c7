/** Whether this host can have machines by the settings. */
import { access, constants, mkdir } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";

/** What is wrong, in words; empty when nothing is. */
export async function hostFindings(options: {
  readonly root: string;
  readonly program: string;
  /** Folders in which the program is looked for. */
  readonly searchPath: string;
}): Promise<readonly string[]> {
  const { root, program, searchPath } = options;
  if (process.platform === "win32") {
    return ["machines that are processes need Linux or macOS: use another provider on Windows"];
  }
  const findings: string[] = [];
  try {
    await mkdir(root, { recursive: true, mode: 0o700 });
    await access(root, constants.W_OK | constants.X_OK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    findings.push(
      `\`root\`: the folder ${root} cannot be used (${code}): name one that can be written`,
    );
  }
  if (!(await isProgram(program, searchPath))) {
    const places = program.includes("/")
      ? "there"
      : `in ${searchPath === "" ? "PATH" : searchPath}`;
    findings.push(`\`command\`: no program ${program} was found ${places}: give its full path`);
  }
  return findings;
}

async function isProgram(program: string, searchPath: string): Promise<boolean> {
  const places = isAbsolute(program)
    ? [program]
    : searchPath.split(delimiter).map((folder) => join(folder, program));
  for (const place of places) {
    const isThere = await access(place, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return true;
  }
  return false;
}
