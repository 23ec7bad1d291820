import { errorMessage, FleetError } from "../runtime/errors.ts";

/** What a message has to say of the call that failed. */
interface FailedCall {
  readonly member: string;
  readonly about?: string;
}

/** D-Bus name of the refusal behind an error of `call`, empty for any other error. */
export function refusalName(error: unknown): string {
  return error instanceof FleetError && error.code === "systemd-refused" ? nameOf(error.cause) : "";
}

/** What an error of the package or of the other side means to callers of the port. */
export function translate(call: FailedCall, error: unknown): FleetError {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ETIMEDOUT") return unanswered(call, error);
  const name = nameOf(error);
  if (
    name === "" ||
    code === "ECONNCLOSED" ||
    AWAY.has(name.replace("org.freedesktop.DBus.Error.", ""))
  ) {
    return unavailable(call, errorMessage(error), error);
  }
  return new FleetError(
    "systemd-refused",
    `systemd refused ${subject(call)}: ${errorMessage(error)}`,
    {
      cause: error,
    },
  );
}

/** Said by the bus, not by systemd: nobody has looked at the call. */
const AWAY: ReadonlySet<string> = new Set([
  "Disconnected",
  "LimitsExceeded",
  "NameHasNoOwner",
  "NoReply",
  "NoServer",
  "ServiceUnknown",
  "TimedOut",
  "Timeout",
]);

export function unanswered(call: FailedCall, cause?: unknown): FleetError {
  return new FleetError("systemd-deadline", `${subject(call)}: no answer from systemd in time`, {
    retriable: true,
    cause,
  });
}

export function unavailable(call: FailedCall, why: string, cause?: unknown): FleetError {
  return new FleetError("systemd-unavailable", `cannot ask systemd for ${subject(call)}: ${why}`, {
    retriable: true,
    cause,
  });
}

function subject(call: FailedCall): string {
  return call.about === undefined ? call.member : `${call.member} of ${call.about}`;
}

function nameOf(error: unknown): string {
  if (!(error instanceof Error) || !("dbusName" in error)) return "";
  return typeof error.dbusName === "string" ? error.dbusName : "";
}
