import { errorMessage, FleetError, isFleetError } from "../../runtime/errors.ts";
import type { JournalQuery } from "../../units/journal-query.ts";
import type { CommandOptions, CommandRun, Context } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, worstExit } from "../exit-code.ts";
import {
  BRIEF_FIELDS,
  field,
  formatEntry,
  printsAllFields,
  realtimeUs,
  unitOfEntry,
} from "../journal-entry.ts";
import { Follower, type Line, type Seen, sourceKey, UNITS_PER_REQUEST } from "../journal-follow.ts";
import { JOURNAL_FORMATS, type JournalFormat } from "../journal-formats.ts";
import { mergeOrdered } from "../journal-merge.ts";
import { type JournalEvent, readJournal } from "../journal-source.ts";
import { findTargets, presentIds, type Targets, type UnitTarget } from "../journal-targets.ts";

const LINES_DEFAULT = 10;
const DRAIN_EVERY_LINES = 500;
/** How journalctl begins to speak of a time, a level or a pattern that is none. */
const REFUSAL = /^(Failed to parse|Unknown log level|Bad pattern)/;

/** Lines of any number of units, from every machine that has or had one of them, by time. */
export const journal: CommandRun = async (context, args, options) => {
  const follow = options.follow === true;
  if (follow && options.until !== undefined) {
    throw new FleetError("usage", "--follow goes on for ever: it does not go with --until");
  }
  const { units, missing, later } = await findTargets(context, args, options.machine);
  for (const word of missing) context.err(`No unit is, or was, named ${word}`);
  const exits = [missing.length === 0 ? EXIT_DONE : EXIT_NOT_FOUND];
  const unknown = units.filter((unit) => unit.unknown);
  if (follow) for (const { name } of unknown) tellUnknown(context, name);
  const wanted = follow ? units.filter((unit) => !unit.unknown) : units;
  if (wanted.length === 0) return EXIT_NOT_FOUND;
  const reading = new Reading(context, options, wanted);
  exits.push(await reading.printBacklog());
  if (follow && !reading.isRefused) await reading.follow(later);
  for (const { name } of unknown) {
    if (follow || reading.printed.has(name)) continue;
    tellUnknown(context, name);
    exits.push(EXIT_NOT_FOUND);
  }
  return worstExit(exits);
};

function tellUnknown(context: Context, name: string): void {
  context.err(`Unit ${name} does not exist.`);
}

/** Machines of one command, each with the units it is asked about. */
class Reading {
  /** Units that had lines. */
  readonly printed = new Set<string>();
  /** journalctl does not understand what is asked for, and has said so. */
  isRefused = false;
  readonly #context: Context;
  readonly #options: CommandOptions;
  readonly #targets: readonly UnitTarget[];
  readonly #format: JournalFormat;
  readonly #units: Set<string>;
  readonly #seen = new Map<string, Seen>();
  readonly #sources = new Set<string>();
  #labelWidth = 0;

  constructor(context: Context, options: CommandOptions, targets: readonly UnitTarget[]) {
    this.#context = context;
    this.#options = options;
    this.#targets = targets;
    this.#format = JOURNAL_FORMATS.find((format) => format === options.output) ?? "short";
    this.#units = new Set(targets.map(({ name }) => name));
  }

  get #lines(): number | "all" {
    const { lines, since, until } = this.#options;
    return lines ?? (since === undefined && until === undefined ? LINES_DEFAULT : "all");
  }

  #query(): Omit<JournalQuery, "units" | "follow" | "lines"> {
    const { since, until, priority, grep } = this.#options;
    const fields = printsAllFields(this.#format) ? undefined : BRIEF_FIELDS;
    return { output: "json", since, until, priority, grep, fields };
  }

  /** What there is already: the newest lines of all machines together. */
  async printBacklog(): Promise<number> {
    const asked = await this.#machinesToAsk();
    const wanted = this.#lines;
    const stop = new AbortController();
    const failed = new Set<string>();
    const said = new Set<string>();
    const streams = asked.map(({ machineId, units }) => {
      // Also where no line is wanted: to know after which one to go on.
      const lines = wanted === 0 ? 1 : wanted;
      return this.#read(machineId, { ...this.#query(), units, lines, follow: false }, stop.signal);
    });
    const cursors = new Map<number, string | undefined>();
    const kept: Line[] = [];
    let count = 0;
    const onError = (index: number, error: unknown) => {
      if (!isFleetError(error)) throw error;
      const machineId = asked[index]?.machineId ?? "";
      failed.add(machineId);
      this.#context.err(`Not read: ${errorMessage(error)}`);
    };
    const order = (event: JournalEvent) =>
      event.type === "entry" ? realtimeUs(event.entry) : Number.NEGATIVE_INFINITY;
    try {
      for await (const { index, item } of mergeOrdered(streams, { order, onError })) {
        const { machineId = "" } = asked[index] ?? {};
        if (item.type === "text") {
          this.isRefused ||= REFUSAL.test(item.text);
          if (said.has(item.text) || item.text.startsWith("-- ")) continue;
          said.add(item.text);
          this.#context.err(item.text);
          continue;
        }
        const { entry } = item;
        cursors.set(index, field(entry, "__CURSOR"));
        if (wanted === "all") {
          this.#print({ machineId, entry });
          count += 1;
          if (count % DRAIN_EVERY_LINES === 0) await this.#context.drained();
        } else {
          kept.push({ machineId, entry });
          if (kept.length > wanted) kept.shift();
        }
      }
    } finally {
      stop.abort();
    }
    for (const [index, { machineId, units }] of asked.entries()) {
      if (failed.has(machineId)) continue;
      const seen = { cursor: cursors.get(index) };
      for (const unit of units) this.#seen.set(sourceKey(unit, machineId), seen);
    }
    for (const line of kept) this.#print(line);
    return this.isRefused ? EXIT_FAILED : this.#exitOf(failed, asked.length);
  }

  /** Former machines may be gone for good; the others have to answer. */
  #exitOf(failed: ReadonlySet<string>, asked: number): number {
    const holderFailed = this.#targets.some(({ holders }) => holders.some((id) => failed.has(id)));
    if (asked > 0 && failed.size === 0) return EXIT_DONE;
    return holderFailed || failed.size >= asked ? EXIT_FAILED : EXIT_DONE;
  }

  async follow(later: Targets["later"]): Promise<void> {
    const { context, options } = { context: this.#context, options: this.#options };
    const isMeant = (name: string) => {
      const target = later?.(name);
      if (target !== undefined) this.#units.add(name);
      return target;
    };
    const follower = new Follower(
      context,
      {
        ...{ targets: this.#targets, seen: this.#seen, lines: this.#lines },
        later: later && isMeant,
        query: { ...this.#query(), lines: "all" },
        sshPort: options.sshPort,
        sudo: options.sudo === true,
        print: (line) => this.#print(line),
        say: (text) => context.err(context.paint.dim(text)),
      },
      context.signal,
    );
    for (const machineId of this.#holders()) {
      const here = this.#targets.filter(({ holders }) => holders.includes(machineId));
      follower.begin(
        machineId,
        here.map(({ name }) => name),
      );
    }
    await follower.run();
  }

  #holders(): ReadonlySet<string> {
    return new Set(this.#targets.flatMap(({ holders }) => holders));
  }

  async #machinesToAsk() {
    const machines = await this.#context.client.machines();
    const known = new Map(machines.map((machine) => [machine.id, machine]));
    const units = new Map<string, string[]>();
    for (const target of this.#targets) {
      const ids = target.unknown && target.holders.length === 0 ? presentIds(machines) : [];
      for (const id of [...target.holders, ...target.former, ...ids]) {
        units.set(id, [...(units.get(id) ?? []), target.name]);
      }
    }
    const asked: { readonly machineId: string; readonly units: readonly string[] }[] = [];
    for (const [machineId, names] of [...units].sort(([a], [b]) => (a < b ? -1 : 1))) {
      // A machine that was forgotten cannot be asked, and nobody waits for it.
      if (!known.has(machineId)) continue;
      for (let from = 0; from < names.length; from += UNITS_PER_REQUEST) {
        asked.push({ machineId, units: names.slice(from, from + UNITS_PER_REQUEST) });
      }
      for (const name of names) this.#addSource(name, machineId);
    }
    return asked;
  }

  async *#read(
    machineId: string,
    query: JournalQuery,
    signal: AbortSignal,
  ): AsyncGenerator<JournalEvent> {
    const machines = await this.#context.client.machines();
    const machine = machines.find(({ id }) => id === machineId) ?? { id: machineId, address: "" };
    const { sshPort, sudo = false } = this.#options;
    yield* readJournal(this.#context, { machine, query, sshPort, sudo }, signal);
  }

  #addSource(unit: string, machineId: string): void {
    this.#sources.add(sourceKey(unit, machineId));
    this.#labelWidth = Math.max(this.#labelWidth, label(unit, machineId).length);
  }

  #print({ machineId, entry }: Line): void {
    const { paint } = this.#context;
    const unit = unitOfEntry(entry, this.#units);
    this.printed.add(unit);
    this.#addSource(unit, machineId);
    if (this.#format.startsWith("json")) {
      const marked = { ...entry, FLEET_UNIT: unit, FLEET_MACHINE: machineId };
      this.#context.write(`${formatEntry(marked, this.#format, false)}\n`);
      return;
    }
    const text = this.#coloured(formatEntry(entry, this.#format, paint.enabled), entry);
    if (this.#sources.size < 2) {
      this.#context.write(`${text}\n`);
      return;
    }
    const hue = [...this.#sources].indexOf(sourceKey(unit, machineId));
    const head = paint.hue(hue, `${label(unit, machineId).padEnd(this.#labelWidth)} |`);
    this.#context.write(
      `${text
        .split("\n")
        .map((line) => `${head} ${line}\n`)
        .join("")}`,
    );
  }

  /** As journalctl does by priority. */
  #coloured(text: string, entry: Line["entry"]): string {
    const { paint } = this.#context;
    const priority = Number(field(entry, "PRIORITY") ?? 6);
    if (priority <= 3) return paint.bad(text);
    return priority <= 5 ? paint.strong(text) : text;
  }
}

/** What can be said to get this one alone. */
function label(unit: string, machineId: string): string {
  return `${unit}@${machineId.slice(0, 8)}`;
}
