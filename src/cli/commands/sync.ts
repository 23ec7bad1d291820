import { homedir, hostname, userInfo } from "node:os";
import { join } from "node:path";
import type { SourceBody } from "../../api/protocol.ts";
import { FleetError } from "../../runtime/errors.ts";
import { signatureRuleOf } from "../../sync/git-signature.ts";
import { Notifier } from "../../sync/notify.ts";
import { openTree } from "../../sync/open-tree.ts";
import {
  followSync,
  planOnce,
  type SyncEvent,
  type SyncOptions,
  type SyncOutcome,
  syncOnce,
} from "../../sync/sync.ts";
import {
  outlookTexts,
  planSummary,
  refusalText,
  stepText,
  versionText,
  waitingTexts,
} from "../../sync/sync-text.ts";
import type { CommandRun, Context } from "../context.ts";
import { EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE } from "../exit-code.ts";
import { timeText } from "../explain-text.ts";
import { ApiError } from "../http-client.ts";
import { ApiSyncCluster } from "../sync-cluster.ts";

const READY_SECONDS = 300;
const POLL_SECONDS = 30;
const PRUNE_LIMIT_PERCENT = 50;

/** Words that are no directory in the first place of the command. */
const SUBCOMMANDS: Readonly<Record<string, CommandRun>> = {
  status: (context, args) => showStatus(context, args),
  history: (context, args) => showHistory(context, args),
  rollback: (context, args) => rollback(context, args),
  suspend: (context, args) =>
    change(context, args, { word: "suspended", fields: { suspended: true } }),
  resume: (context, args) =>
    change(context, args, { word: "resumed", fields: { suspended: false, pinned: undefined } }),
};

/** A directory of unit files, as a work tree, a repository or plain, is what the cluster runs. */
export const sync: CommandRun = async (context, args, options) => {
  const [first = "", ...rest] = args;
  const subcommand = Object.hasOwn(SUBCOMMANDS, first) ? SUBCOMMANDS[first] : undefined;
  if (subcommand !== undefined) return await subcommand(context, rest, options);
  if (rest.length > 0) throw new FleetError("usage", "one directory or URL at a time");
  const { clock, signal } = context;
  const tree = await openTree({
    clock,
    location: first,
    dirty: options.dirty === true,
    signatures:
      options.requireSigned === undefined ? undefined : signatureRuleOf(options.requireSigned),
    cacheDirectory: cacheDirectory(),
    pollMs: (options.poll ?? POLL_SECONDS) * 1_000,
  });
  const source = options.name ?? sourceName(first);
  const { notify } = options;
  const onFailure = (why: string) => context.err(context.paint.bad(`--notify: ${why}`));
  const notifier =
    notify === undefined ? undefined : new Notifier({ command: notify, source, clock, onFailure });
  const run: SyncOptions = {
    tree,
    cluster: new ApiSyncCluster(context.client),
    clock,
    source,
    runner: `${userInfo().username}@${hostname()}`,
    adopt: options.adopt === true,
    prune: options.prune === true,
    pruneLimit: (options.pruneLimit ?? PRUNE_LIMIT_PERCENT) / 100,
    heal: options.heal !== false,
    readyMs: (options.timeout ?? READY_SECONDS) * 1_000,
    onEvent: (event) => report(context, event),
    tell: (outcome) => notifier?.tell(outcome) ?? Promise.resolve(),
  };
  if (options.plan === true) return finish(context, await planOnce(run, signal), true);
  if (options.watch !== true) {
    const outcome = await syncOnce(run, signal);
    await notifier?.tell(outcome);
    return finish(context, outcome, false);
  }
  await followSync(run, signal);
  return EXIT_DONE;
};

function cacheDirectory(): string {
  const base = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  return join(base, "fleetctl-ts", "sync");
}

/** The last part of the location: `/srv/units#main` is `units`. */
function sourceName(location: string): string {
  const place = location
    .replace(/#.*$/, "")
    .replace(/[/]+$/, "")
    .replace(/\.git$/, "");
  const last = place.split(/[/:]/).at(-1) ?? "";
  const plain = (last === "." || last === "" ? process.cwd().split("/").at(-1) : last) ?? "";
  const name = plain.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "");
  if (name === "") throw new FleetError("usage", `${location}: say what to call it, with --name`);
  return name;
}

/** While it works, and for as long as a tree is followed. */
function report(context: Context, event: SyncEvent): void {
  const { paint } = context;
  if (context.json) {
    if (event.type !== "step") context.out(JSON.stringify(event));
    return;
  }
  switch (event.type) {
    case "plan":
      context.out(`${versionText(event.version)}: ${planSummary(event.plan)}`);
      for (const text of waitingTexts(event.outlooks)) context.out(`  ${text}`);
      break;
    case "step":
      if (event.event.type === "done") context.out(`  ${stepText(event.event.step)}`);
      else if (event.event.type !== "ready") {
        context.err(paint.bad(`  ! ${event.event.unit}: ${event.event.why}`));
      }
      break;
    case "outcome":
      printOutcome(context, event.outcome, false);
      break;
    case "away":
      context.err(paint.bad(`${event.message}; trying again`));
      break;
  }
}

function finish(context: Context, outcome: SyncOutcome, isPlan: boolean): number {
  if (context.json) context.out(JSON.stringify(outcome, undefined, 2));
  else printOutcome(context, outcome, isPlan);
  if (outcome.type === "suspended" || isWaiting(outcome)) return EXIT_FAILED;
  if (outcome.type !== "rejected") return EXIT_DONE;
  return outcome.backTo === undefined && isPlan ? EXIT_USAGE : EXIT_FAILED;
}

/** All that could be done is done, and some units have no machine. */
function isWaiting(outcome: SyncOutcome): boolean {
  return "waiting" in outcome && (outcome.waiting ?? []).length > 0;
}

function printOutcome(context: Context, outcome: SyncOutcome, isPlan: boolean): void {
  const { paint } = context;
  if (outcome.type === "suspended") {
    context.err("suspended: fleetctl-ts sync resume ends that");
    return;
  }
  const version = versionText(outcome.version);
  if (outcome.type === "rejected") {
    const again = outcome.known ? "still rejected" : "rejected";
    context.err(paint.bad(`${version} is ${again}:`));
    for (const problem of outcome.problems) context.err(`  ${problem}`);
    const back = outcome.backTo && `back at ${versionText(outcome.backTo)}`;
    context.err(back ?? "nothing was changed by it; a new version is tried at once");
    return;
  }
  const { plan } = outcome;
  if (isPlan || outcome.type === "planned") {
    context.out(`${version}: ${planSummary(plan)}`);
    for (const step of plan.steps) context.out(`  ${stepText(step)}`);
    for (const text of outlookTexts(outcome.outlooks ?? [])) context.out(`  ${paint.dim(text)}`);
  }
  for (const refused of plan.refused)
    context.err(`  ${paint.dim(`left alone: ${refusalText(refused)}`)}`);
  if (outcome.type === "unchanged") {
    for (const text of outcome.waiting ?? []) context.err(paint.bad(`  ! ${text}`));
  }
  if (isWaiting(outcome)) context.err(paint.bad(`${version} is applied, and not all of it runs`));
  else if (outcome.type === "synced") context.out(paint.good(`${version} is running`));
  else if (outcome.type === "unchanged") context.out(`${version} is running, nothing to do`);
}

/** Undefined, and said, when there is none of that name. */
async function findSource(
  context: Context,
  args: readonly string[],
): Promise<SourceBody | undefined> {
  const [name] = args;
  if (name === undefined) throw new FleetError("usage", "name the source; sync status lists them");
  try {
    return await context.client.source(name);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    context.err(error.message);
    return undefined;
  }
}

async function showStatus(context: Context, args: readonly string[]): Promise<number> {
  const all = await context.client.sources();
  const shown = args.length === 0 ? all : all.filter(({ name }) => args.includes(name));
  if (context.json) context.out(JSON.stringify(shown, undefined, 2));
  else for (const source of shown) printSource(context, source);
  if (shown.length > 0 || args.length === 0) return EXIT_DONE;
  context.err(`there is no source ${args.join(" ")}`);
  return EXIT_NOT_FOUND;
}

function printSource(context: Context, { name, record }: SourceBody): void {
  const { paint } = context;
  context.out(`${paint.strong(name)}  ${record.tree}`);
  const line = (what: string, text: string | undefined) => {
    if (text !== undefined) context.out(`  ${what.padEnd(9)} ${text}`);
  };
  line("running", record.running && versionText(record.running));
  if (record.wanted?.id !== record.running?.id) {
    line("wanted", record.wanted && versionText(record.wanted));
  }
  if (record.rejected !== undefined) {
    line("rejected", paint.bad(versionText(record.rejected.version)));
    for (const problem of record.rejected.problems) line("", problem);
  }
  if (record.away !== undefined) {
    line("away", paint.bad(`${record.away.why} (since ${timeText(record.away.sinceMs)})`));
  }
  line("pinned", record.pinned && `to ${record.pinned.slice(0, 10)} (sync resume ${name})`);
  line("suspended", record.suspended === true ? `yes (sync resume ${name})` : undefined);
  for (const refused of record.refused) line("", paint.dim(`left alone: ${refused}`));
  for (const drift of record.drift ?? []) line("drift", paint.bad(drift));
  line("by", `${record.runner}, ${timeText(record.lookedMs)}`);
}

async function showHistory(context: Context, args: readonly string[]): Promise<number> {
  const source = await findSource(context, args);
  if (source === undefined) return EXIT_NOT_FOUND;
  const { record } = source;
  if (context.json) {
    context.out(JSON.stringify(record.history, undefined, 2));
    return EXIT_DONE;
  }
  for (const { version, atMs, outcome, who } of record.history) {
    context.out(`${timeText(atMs)}  ${outcome.padEnd(11)}  ${versionText(version)}  (${who})`);
  }
  return EXIT_DONE;
}

/** Pins the source to an earlier version; whoever runs the sync goes there. */
async function rollback(context: Context, args: readonly string[]): Promise<number> {
  const source = await findSource(context, args);
  if (source === undefined) return EXIT_NOT_FOUND;
  const { record } = source;
  const asked = args[1];
  const good = record.history.filter(({ outcome }) => outcome === "running");
  const target =
    asked === undefined
      ? good.find(({ version }) => version.id !== record.running?.id)?.version.id
      : (good.find(({ version }) => version.id.startsWith(asked))?.version.id ?? asked);
  if (target === undefined) {
    context.err(`${source.name} has run no other version yet`);
    return EXIT_NOT_FOUND;
  }
  await context.client.putSource({ ...source, record: { ...record, pinned: target } });
  context.out(
    `${source.name} is pinned to ${target.slice(0, 10)} until sync resume ${source.name}`,
  );
  return EXIT_DONE;
}

async function change(
  context: Context,
  args: readonly string[],
  { word, fields }: { readonly word: string; readonly fields: Record<string, unknown> },
): Promise<number> {
  const source = await findSource(context, args);
  if (source === undefined) return EXIT_NOT_FOUND;
  const record = { ...source.record, ...fields } as SourceBody["record"];
  await context.client.putSource({ ...source, record });
  context.out(`${source.name} is ${word}`);
  return EXIT_DONE;
}
