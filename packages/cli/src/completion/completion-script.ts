import type { CommandNode } from "./command-tree.ts";

/** Shells that completion is made for. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
/** One of {@link SHELLS}. */
export type Shell = (typeof SHELLS)[number];

/** Whether completion can be made for a shell. */
export function isShell(name: string): name is Shell {
  return (SHELLS as readonly string[]).includes(name);
}

/** The script that a shell reads to complete the program's commands and options. */
export function completionScript(shell: Shell, root: CommandNode): string {
  if (shell === "fish") return fishScript(root);
  const bash = bashScript(root);
  // zsh runs the same script through its own layer for bash completion.
  return shell === "bash"
    ? bash
    : `#compdef ${root.name}\nautoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

/** Every command with the words that lead to it. */
function paths(node: CommandNode, before: readonly string[] = []): [string, CommandNode][] {
  return [
    [before.join(" "), node],
    ...node.children.flatMap((child) => paths(child, [...before, child.name])),
  ];
}

function bashScript(root: CommandNode): string {
  const cases = paths(root).map(([path, node]) => {
    const words = [...node.children.map((child) => child.name), ...node.options.map((o) => o.name)];
    return `    "${path}") words="${words.join(" ")}" ;;`;
  });
  return `_${root.name}() {
  local word path="" words=""
  local current="\${COMP_WORDS[COMP_CWORD]}"
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in
      -*) ;;
      *) case " ${commandWords(root)} " in
        *" \${path:+$path }$word,"*) path="\${path:+$path }$word" ;;
      esac ;;
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  if [[ "$current" == -* || -n "$words" && "$current" == "" || "$current" =~ ^[a-z]+$ ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -o default -F _${root.name} ${root.name}`;
}

/** All paths, each ended by a comma, so that a shell can ask whether one is among them. */
function commandWords(root: CommandNode): string {
  return paths(root)
    .filter(([path]) => path !== "")
    .map(([path]) => `${path},`)
    .join(" ");
}

function fishScript(root: CommandNode): string {
  const lines = [`complete -c ${root.name} -f`];
  for (const [path, node] of paths(root)) {
    const words = path === "" ? [] : path.split(" ");
    const condition =
      words.length === 0
        ? "__fish_use_subcommand"
        : words.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    for (const child of node.children) {
      lines.push(
        `complete -c ${root.name} -n ${quote(condition)} -a ${child.name} -d ${quote(child.description)}`,
      );
    }
    for (const option of node.options) {
      lines.push(
        `complete -c ${root.name} -n ${quote(condition)} -l ${option.name.slice(2)} -d ${quote(option.description)}`,
      );
    }
    if (words[0] === "submit") lines.push(`complete -c ${root.name} -n ${quote(condition)} -F`);
  }
  return lines.join("\n");
}

/** A text as fish takes it whole. */
function quote(text: string): string {
  return `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
}
