import {
  AUTHORITATIVE_ANSWER,
  decode,
  encode,
  encodingLength,
  type OptAnswer,
  type Packet,
  TRUNCATED_RESPONSE,
} from "dns-packet";
import type { DnsAnswer, DnsQuestion } from "./answer.ts";

/** The only file that knows dns-packet: bytes of DNS (RFC 1035, 6891) to questions, and answers to bytes. */
export type DecodedQuery =
  /** Not a query, or not even a header: an answer could set two servers talking to each other for ever. */
  | { readonly type: "ignored" }
  /** To be sent back as it is. */
  | { readonly type: "rejected"; readonly reply: Buffer }
  | { readonly type: "query"; readonly query: DnsQuery };

export interface DnsQuery {
  readonly question: DnsQuestion;
  readonly id: number;
  readonly flags: number;
  /** Undefined: the client knows nothing of EDNS. */
  readonly udpBytes: number | undefined;
}

const HEADER_BYTES = 12;
const IS_RESPONSE = 0x8000;
const OPCODE = 0x7800;
const RECURSION_DESIRED = 0x0100;
const FORMAT_ERROR = 1;
const NOT_IMPLEMENTED = 4;
const BAD_EDNS_VERSION = 16;
const CODES = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const;

const UDP_BYTES_WITHOUT_EDNS = 512;
/** Passes every network unfragmented. */
const UDP_BYTES_MAX = 1_232;
const TCP_BYTES_MAX = 65_535;

/** Any bytes. */
export function decodeQuery(bytes: Buffer): DecodedQuery {
  if (bytes.length < HEADER_BYTES) return { type: "ignored" };
  const id = bytes.readUInt16BE(0);
  const flags = bytes.readUInt16BE(2);
  if ((flags & IS_RESPONSE) !== 0) return { type: "ignored" };
  const head = { id, flags };
  if ((flags & OPCODE) !== 0) return rejected(head, NOT_IMPLEMENTED);
  let packet: Packet;
  try {
    packet = decode(bytes);
  } catch {
    return rejected(head, FORMAT_ERROR);
  }
  const [question, ...others] = packet.questions ?? [];
  if (question === undefined || others.length > 0) return rejected(head, FORMAT_ERROR);
  // Names that are no text would come back as others: such an answer is to nobody's question.
  const echo = encode({ questions: [question] }).subarray(HEADER_BYTES);
  if (!bytes.subarray(HEADER_BYTES, HEADER_BYTES + echo.length).equals(echo))
    return rejected(head, FORMAT_ERROR);
  const opt = packet.additionals?.find((one): one is OptAnswer => one.type === "OPT");
  const { name, type } = question;
  const query = {
    ...head,
    question: { name, type, class: question.class ?? "IN" },
    udpBytes: opt && Math.min(Math.max(opt.udpPayloadSize, UDP_BYTES_WITHOUT_EDNS), UDP_BYTES_MAX),
  };
  if (opt === undefined || opt.ednsVersion === 0) return { type: "query", query };
  return rejected(head, 0, { ...OPT, extendedRcode: BAD_EDNS_VERSION >> 4 });
}

/** What does not fit is left out and said to be missing (TC), so that the client asks again by TCP. */
export function encodeAnswer(query: DnsQuery, answer: DnsAnswer, by: "udp" | "tcp"): Buffer {
  const { question, udpBytes } = query;
  const limit = by === "tcp" ? TCP_BYTES_MAX : (udpBytes ?? UDP_BYTES_WITHOUT_EDNS);
  const isOurs = answer.code === "NOERROR" || answer.code === "NXDOMAIN";
  const flags =
    (query.flags & RECURSION_DESIRED) | (isOurs ? AUTHORITATIVE_ANSWER : 0) | CODES[answer.code];
  const opt = udpBytes === undefined ? [] : [OPT];
  const packet = (more: Partial<Packet>, extraFlags = 0) =>
    ({
      type: "response",
      id: query.id,
      flags: flags | extraFlags,
      questions: [question as never],
      additionals: opt,
      ...more,
    }) satisfies Packet;
  const { answers, authorities } = answer;
  const whole = packet({
    answers: [...answers],
    authorities: [...authorities],
    additionals: [...answer.additionals, ...opt],
  });
  if (encodingLength(whole) <= limit) return encode(whole);
  // Addresses of targets can be asked for.
  const needed = packet({ answers: [...answers], authorities: [...authorities] });
  if (encodingLength(needed) <= limit) return encode(needed);
  return encode(packet({}, TRUNCATED_RESPONSE));
}

const OPT: OptAnswer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: UDP_BYTES_MAX,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

function rejected(
  { id, flags }: { readonly id: number; readonly flags: number },
  code: number,
  opt?: OptAnswer,
): DecodedQuery {
  const reply = encode({
    type: "response",
    id,
    flags: (flags & (OPCODE | RECURSION_DESIRED)) | code,
    ...(opt === undefined ? {} : { additionals: [opt] }),
  });
  return { type: "rejected", reply };
}
