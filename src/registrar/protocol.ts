import * as v from "valibot";
import { errorMessage } from "../runtime/errors.ts";
import type { Endpoint } from "../services/endpoint.ts";

/**
 * What goes over /run/fleet-services.sock: a line of JSON per message, both ways. The connection is the life of what was registered over it: closed without
 * `deregister`, it is removed at once. Nothing else can be done here, so the socket may be given to containers.
 */
export type ClientMessage = v.InferOutput<typeof clientMessage>;
export type Registration = v.InferOutput<typeof registration>;

export type ServerMessage =
  /** First. `address`: what `host` left out means. */
  | { readonly type: "hello"; readonly machine: string; readonly address: string }
  /** `pending`: not in the registry (any more), and why; it goes there as soon as possible. `gone`: deregistered. */
  | {
      readonly type: "endpoint";
      readonly id: number;
      readonly state: "registered" | "pending" | "gone";
      readonly why: string;
    }
  /** The registration `id` is not taken. Without `id`: the message was not understood, and the connection is closed. */
  | { readonly type: "refused"; readonly id?: number; readonly why: string }
  /** All endpoints of a watched service. Not sent while the registry was not read yet: then what was known before holds. */
  | { readonly type: "service"; readonly service: string; readonly endpoints: readonly Endpoint[] };

/** Said at least so often by a client that has nothing else to say. One that is silent for three times as long is cut off. */
export const ALIVE_MS = 5_000;
/** Of one line, either way. */
export const LINE_BYTES_MAX = 1024 * 1024;

const name = v.pipe(v.string(), v.maxLength(255));
const number = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));

const registration = v.object({
  service: name,
  /** Left out: of machine and port. */
  instance: v.exactOptional(name),
  /** One of this machine's addresses. Left out: the one others reach it by. */
  host: v.exactOptional(name),
  port: v.pipe(number, v.minValue(1)),
  protocol: v.picklist(["tcp", "udp"]),
  health: v.picklist(["unknown", "passing", "failing", "draining"]),
  detail: v.pipe(v.string(), v.maxLength(500)),
  weight: number,
  priority: number,
  tags: v.pipe(
    v.record(name, name),
    v.check((tags) => Object.keys(tags).length <= 32, "more than 32 tags"),
  ),
  unit: v.exactOptional(name),
  sinceMs: v.number(),
});

const id = v.pipe(v.number(), v.integer());

const clientMessage = v.variant("type", [
  /** Again with the same id: replaces it, also to say its health. */
  v.object({ type: v.literal("register"), id, endpoint: registration }),
  v.object({ type: v.literal("deregister"), id }),
  /** Replaces the services watched. */
  v.object({ type: v.literal("watch"), services: v.pipe(v.array(name), v.maxLength(256)) }),
  /** Who uses which services through this connection; replaces what was said before. */
  v.object({
    type: v.literal("link"),
    consumer: name,
    services: v.pipe(v.array(v.object({ service: name, local: name })), v.maxLength(256)),
  }),
  v.object({ type: v.literal("alive") }),
]);

export type Decoded =
  | { readonly type: "ok"; readonly message: ClientMessage }
  | { readonly type: "wrong"; readonly why: string };

export function decodeClientMessage(line: string): Decoded {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    return { type: "wrong", why: `not a line of JSON: ${errorMessage(error)}` };
  }
  const parsed = v.safeParse(clientMessage, json);
  if (parsed.success) return { type: "ok", message: parsed.output };
  const [issue] = parsed.issues;
  return { type: "wrong", why: `${v.getDotPath(issue) ?? "message"}: ${issue.message}` };
}
