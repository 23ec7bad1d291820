import { isFleetError } from "../runtime/errors.ts";
import { Refusal } from "./http.ts";

export interface ApiErrorBody {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly machine?: Refusal["machine"];
}

/** What the client is told of anything thrown. Texts of bugs stay in the log. */
export function toErrorBody(error: unknown, registry: string): ApiErrorBody {
  if (error instanceof Refusal) {
    const { status, code, message, machine } = error;
    return { status, code, message, machine };
  }
  if (!isFleetError(error)) {
    return { status: 500, code: "internal", message: "" };
  }
  const { code, message } = error;
  switch (code) {
    case "store-too-large":
      return { status: 413, code: "too-large", message };
    case "store-unavailable":
    case "store-deadline":
    case "store-compacted":
    case "store-future-revision":
    case "store-denied":
    case "store-in-use":
    case "store-corrupt":
    case "store-closed":
      return {
        status: 503,
        code: "registry-away",
        message: `fleet server unable to communicate with ${registry}: ${message}`,
      };
    case "conflict":
    case "unit-invalid":
      return { status: 409, code: "conflict", message };
    case "systemd-refused":
      return { status: 409, code, message };
    case "not-found":
      return { status: 404, code, message };
    default:
      return { status: 500, code: "internal", message };
  }
}
