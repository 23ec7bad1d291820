import { closeSync, fsyncSync, openSync, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import { keyOf } from "./embedded-mvcc.ts";
import { EMPTY_REVISION, type EmbeddedSnapshot } from "./embedded-snapshot.ts";
import type { Change, KeyValue, Lease, Revision } from "./store.ts";

export interface Commit {
  readonly revision: Revision;
  /** Of all revisions since the last commit, oldest first. */
  readonly changes: readonly Change[];
  readonly leasesGranted: readonly Lease[];
  readonly leasesEnded: readonly string[];
}

/** "flet": tells our files from other SQLite databases. */
const APPLICATION_ID = 0x66_6c_65_74;
const FORMAT = 1;

/** Result codes of sqlite3.h; the low byte of what node:sqlite calls `errcode`. */
const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

const SCHEMA = `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT;
  CREATE TABLE items (
    key TEXT PRIMARY KEY, value TEXT NOT NULL,
    created INTEGER NOT NULL, modified INTEGER NOT NULL, lease TEXT
  ) STRICT;
  CREATE TABLE leases (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL) STRICT;
`;

/**
 * The registry's file: the newest state only, in SQLite.
 *
 * - Write-ahead log with synchronous=FULL: a commit is one append and one fsync, where a rollback journal needs three.
 * - locking_mode=EXCLUSIVE: a second opener is refused, and the lock is the kernel's, so it goes with the process however that ends.
 *
 * Nothing in this process may open and close the file besides SQLite: POSIX takes the process's lock away then.
 */
export class EmbeddedFile {
  readonly path: string;
  readonly #database: DatabaseSync;
  readonly #putItem: StatementSync;
  readonly #deleteItem: StatementSync;
  readonly #putLease: StatementSync;
  readonly #deleteLease: StatementSync;
  readonly #putRevision: StatementSync;

  constructor(path: string, database: DatabaseSync) {
    this.path = path;
    this.#database = database;
    this.#putItem = database.prepare("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)");
    this.#deleteItem = database.prepare("DELETE FROM items WHERE key = ?");
    this.#putLease = database.prepare("INSERT OR REPLACE INTO leases VALUES (?, ?)");
    this.#deleteLease = database.prepare("DELETE FROM leases WHERE id = ?");
    this.#putRevision = database.prepare("UPDATE meta SET value = ? WHERE name = 'revision'");
  }

  /** Returns when all of it is on the disk; throws when nothing of it is in the database. */
  commit(commit: Commit): void {
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      const newest = new Map(commit.changes.map((change) => [keyOf(change), change]));
      for (const [key, change] of newest) {
        if (change.type === "delete") this.#deleteItem.run(key);
        else this.#writeItem(change.item);
      }
      for (const lease of commit.leasesGranted) this.#putLease.run(lease.leaseId, lease.ttlMs);
      for (const leaseId of commit.leasesEnded) this.#deleteLease.run(leaseId);
      this.#putRevision.run(commit.revision);
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#rollBack();
      throw translated(error, this.path, "write to");
    }
  }

  close(): void {
    this.#database.close();
  }

  #rollBack(): void {
    // After some errors, such as a full disk, SQLite has done so by itself.
    if (!this.#database.isTransaction) return;
    try {
      this.#database.exec("ROLLBACK");
    } catch {
      // The transaction stays open and the next BEGIN fails: writes are refused until the daemon starts anew.
    }
  }

  #writeItem(item: KeyValue): void {
    const { key, value, createRevision, modRevision, leaseId } = item;
    this.#putItem.run(key, value, createRevision, modRevision, leaseId ?? null);
  }
}

/** Opens the file, or creates it as a store of the id that `newStoreId` gives. */
export function openEmbeddedFile(
  path: string,
  newStoreId: () => string,
): { readonly file: EmbeddedFile; readonly state: EmbeddedSnapshot } {
  let database: DatabaseSync | undefined;
  try {
    createPrivately(path);
    database = new DatabaseSync(path);
    prepareDatabase(database, path, newStoreId);
    return { file: new EmbeddedFile(path, database), state: readState(database, path) };
  } catch (error) {
    database?.close();
    throw translated(error, path, "open");
  }
}

/** Unit files may hold secrets: only the owner reads the registry. SQLite gives its log the same mode. */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return;
    throw error;
  }
  const directory = openSync(dirname(path), "r");
  fsyncSync(directory);
  closeSync(directory);
}

function prepareDatabase(database: DatabaseSync, path: string, newStoreId: () => string): void {
  pragma(database, "locking_mode=EXCLUSIVE");
  const isOurs = pragma(database, "application_id") === APPLICATION_ID;
  const tables = database.prepare("SELECT count(*) AS n FROM sqlite_schema").get()?.["n"];
  if (!isOurs && tables !== 0) {
    throw new FleetError("store-corrupt", `${path} is no registry of fleet-ts: name another file`);
  }
  pragma(database, "journal_mode=WAL");
  pragma(database, "synchronous=FULL");
  if (pragma(database, "journal_mode") !== "wal" || pragma(database, "synchronous") !== 2) {
    throw new FleetError("store-unavailable", `${path} cannot be written durably by this SQLite`);
  }
  if (tables === 0) {
    database.exec(`BEGIN IMMEDIATE; ${SCHEMA}`);
    const insert = database.prepare("INSERT INTO meta VALUES (?, ?)");
    insert.run("storeId", newStoreId());
    insert.run("revision", EMPTY_REVISION);
    database.exec(`PRAGMA application_id=${APPLICATION_ID}; PRAGMA user_version=${FORMAT}; COMMIT`);
  }
  const format = pragma(database, "user_version");
  if (format !== FORMAT) {
    const todo = "start the version of fleet-ts that wrote it";
    throw new FleetError("store-corrupt", `registry ${path} has unknown format ${format}: ${todo}`);
  }
  const check = pragma(database, "quick_check");
  if (check !== "ok") throw corrupt(path, String(check));
}

function readState(database: DatabaseSync, path: string): EmbeddedSnapshot {
  const meta = new Map(
    database
      .prepare("SELECT name, value FROM meta")
      .all()
      .map((row) => [row["name"], row["value"]]),
  );
  const storeId = meta.get("storeId");
  const revision = meta.get("revision");
  if (typeof storeId !== "string" || typeof revision !== "number") {
    throw corrupt(path, "its id or revision is missing");
  }
  const leases = database.prepare("SELECT id, ttl_ms FROM leases ORDER BY id").all().map(leaseOf);
  const leaseIds = new Set(leases.map((lease) => lease.leaseId));
  const items: KeyValue[] = [];
  // Byte order, as SQLite compares text: the sorted keys are filled from their end.
  for (const row of database.prepare("SELECT * FROM items ORDER BY key").iterate()) {
    const item = itemOf(row);
    const isSound =
      item.createRevision <= item.modRevision &&
      item.modRevision <= revision &&
      (item.leaseId === undefined || leaseIds.has(item.leaseId));
    if (!isSound) throw corrupt(path, `the record of ${item.key} contradicts the others`);
    items.push(item);
  }
  return { storeId, revision, items, leases };
}

type Row = Record<string, unknown>;

function itemOf(row: Row): KeyValue {
  const { key, value, created, modified, lease } = row;
  const item = {
    key: String(key),
    value: String(value),
    createRevision: Number(created),
    modRevision: Number(modified),
  };
  return typeof lease === "string" ? { ...item, leaseId: lease } : item;
}

function leaseOf(row: Row): Lease {
  return { leaseId: String(row["id"]), ttlMs: Number(row["ttl_ms"]) };
}

/** Sets or reads a setting; SQLite answers with its value as the only column, or not at all. */
function pragma(database: DatabaseSync, text: string): unknown {
  return Object.values(database.prepare(`PRAGMA ${text}`).get() ?? {})[0];
}

function translated(error: unknown, path: string, doing: string): FleetError {
  if (error instanceof FleetError) return error;
  const code =
    error instanceof Error && "errcode" in error && typeof error.errcode === "number"
      ? error.errcode & 0xff
      : undefined;
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return corrupt(path, errorMessage(error));
  if (code === SQLITE_BUSY) return inUse(path, error);
  return new FleetError(
    "store-unavailable",
    `cannot ${doing} registry ${path}: ${errorMessage(error)}: check the disk's space and health and the file's owner`,
    { retriable: true, cause: error },
  );
}

function corrupt(path: string, what: string): FleetError {
  const todo =
    "stop fleetd-ts, keep a copy of the file, then put a backup in its place, or move it away and import an export (fleetctl-ts registry import)";
  return new FleetError("store-corrupt", `registry ${path} is damaged (${what}): ${todo}`);
}

function inUse(path: string, cause: unknown): FleetError {
  const holder = lockHolder(path);
  const who = holder === undefined ? "another process" : `process ${holder}`;
  return new FleetError(
    "store-in-use",
    `registry ${path} is in use by ${who}: only one daemon may open it`,
    { cause },
  );
}

/** Who holds the file's lock, proc_locks(5). Undefined where the kernel does not tell. */
function lockHolder(path: string): number | undefined {
  try {
    const { ino } = statSync(path);
    for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
      const [, , , , pid, file] = line.trim().split(/\s+/);
      if (file?.split(":")[2] === String(ino)) return Number(pid);
    }
  } catch {
    // No /proc: the message does without.
  }
  return undefined;
}
