import { constants } from "node:os";
import { JOURNAL_FORMATS } from "./journal-formats.ts";

/** What a shell completes a word from. */
export interface CompletionWord {
  readonly name: string;
  readonly options: readonly CompletionOption[];
  /** Of its arguments, in order; the last one goes for all further ones. */
  readonly args: readonly CompletionKind[];
}

export interface CompletionOption {
  readonly names: readonly string[];
  readonly takesValue: boolean;
  readonly choices: readonly string[];
  readonly kind: CompletionKind;
}

export type CompletionKind =
  | "units"
  | "units-or-files"
  | "machines"
  | "machines-or-units"
  | "shells"
  | "commands"
  | "signals"
  | "journal-formats"
  | "files"
  | "nothing";

export const SHELLS = ["bash", "zsh", "fish"] as const;

/** What to offer: `words`, and/or what a kind stands for. */
export interface Completion {
  readonly words: readonly string[];
  readonly kind: CompletionKind;
  /** Stands before every candidate: `--unit=`. */
  readonly prefix: string;
}

/** `words`: after the program's name; the last one is to be completed. Pure. */
export function completionFor(
  words: readonly string[],
  commands: readonly CompletionWord[],
  globals: readonly CompletionOption[],
): Completion {
  const current = words.at(-1) ?? "";
  let command: CompletionWord | undefined;
  let positional = 0;
  let pending: CompletionOption | undefined;
  let isOver = false;
  for (const word of words.slice(0, -1)) {
    const options = [...globals, ...(command?.options ?? [])];
    if (pending !== undefined) pending = undefined;
    else if (word === "--") isOver = true;
    else if (word.startsWith("-") && !isOver) {
      const option = options.find(({ names }) => names.includes(word));
      if (option?.takesValue === true) pending = option;
    } else if (command === undefined) command = commands.find(({ name }) => name === word);
    else positional += 1;
  }
  const options = [...(command?.options ?? []), ...globals];
  if (pending !== undefined) return valueCompletion(pending, "");
  const assigned = /^(--[^=]+)=/.exec(current);
  if (assigned !== null && !isOver) {
    const option = options.find(({ names }) => names.includes(assigned[1] ?? ""));
    return option === undefined ? nothing() : valueCompletion(option, assigned[0]);
  }
  if (current.startsWith("-") && !isOver) {
    const names = [...new Set(options.flatMap((option) => option.names))];
    return { words: names.filter((name) => name.startsWith("--")), kind: "nothing", prefix: "" };
  }
  if (command === undefined) return { words: [], kind: "commands", prefix: "" };
  const kind = command.args[Math.min(positional, command.args.length - 1)] ?? "nothing";
  return { words: [], kind, prefix: "" };
}

function valueCompletion({ choices, kind }: CompletionOption, prefix: string): Completion {
  return { words: choices, kind, prefix };
}

function nothing(): Completion {
  return { words: [], kind: "nothing", prefix: "" };
}

export function isShell(text: string | undefined): text is (typeof SHELLS)[number] {
  return SHELLS.some((shell) => shell === text);
}

/** Candidates that need nobody to be asked. */
export function fixedWords(kind: CompletionKind, commands: readonly string[]): readonly string[] {
  switch (kind) {
    case "commands":
      return commands;
    case "shells":
      return SHELLS;
    case "signals":
      return Object.keys(constants.signals);
    case "journal-formats":
      return JOURNAL_FORMATS;
    default:
      return [];
  }
}

/** The program answers what to offer; `:files` among the lines asks the shell for file names as well. */
export const COMPLETION_SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = {
  bash: `# eval "$(fleetctl-ts completion bash)"
_fleetctl_ts() {
  local line=\${COMP_LINE:0:COMP_POINT} words current=() candidate broken
  # Not COMP_WORDS: bash takes words apart at @, : and = too, which unit names are full of.
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  current=\${words[-1]}
  broken=\${current%"\${current##*["$COMP_WORDBREAKS"]}"}
  COMPREPLY=()
  while IFS= read -r candidate; do
    if [[ $candidate == :files ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r candidate; do COMPREPLY+=("\${candidate#"$broken"}"); done < <(compgen -f -- "$current")
    elif [[ $candidate == "$current"* ]]; then COMPREPLY+=("\${candidate#"$broken"}"); fi
  done < <("\${words[0]}" __complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -F _fleetctl_ts fleetctl-ts
`,
  zsh: `#compdef fleetctl-ts
# source <(fleetctl-ts completion zsh)
_fleetctl_ts() {
  local -a candidates
  candidates=("\${(@f)$("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if (( \${candidates[(Ie):files]} )); then _files; candidates=("\${(@)candidates:#:files}"); fi
  candidates=("\${(@)candidates:#}")
  (( \${#candidates} )) && compadd -- "\${candidates[@]}"
  return 0
}
compdef _fleetctl_ts fleetctl-ts
`,
  fish: `# fleetctl-ts completion fish | source
function __fleetctl_ts_complete
    set -l words (commandline -opc) (commandline -ct)
    for candidate in ($words[1] __complete -- $words[2..-1] 2>/dev/null)
        if test "$candidate" = ':files'
            __fish_complete_path (commandline -ct)
        else
            echo $candidate
        end
    end
end
complete -c fleetctl-ts -f -a '(__fleetctl_ts_complete)'
`,
};
