import { EdgewiseError } from '../../core/errors.ts'

/** Which rule of the protocol the received (or handed in) bytes break. */
export type WireCode =
  | 'E_WIRE_VERSION'
  | 'E_WIRE_HEADER'
  | 'E_WIRE_TYPE'
  | 'E_WIRE_STATE'
  | 'E_WIRE_SIZE'
  | 'E_WIRE_SEQUENCE'
  | 'E_WIRE_CHECKSUM'
  | 'E_WIRE_PAYLOAD'
  /** More frames or bytes a second, or attempts a minute, than the server takes. */
  | 'E_WIRE_RATE'

/** Bytes or frames against the protocol. The connection cannot go on: nothing after them can be trusted. */
export class WireError extends EdgewiseError {
  declare readonly code: WireCode

  constructor(code: WireCode, what: string, expected: string, found: string, cause?: unknown) {
    super(code, `${what}\n  expected: ${expected}\n  found: ${found}`, { cause })
  }
}

export type ConnectionCode =
  | 'E_CONNECTION_CLOSED'
  /** The carriage broke, or ended without a bye. */
  | 'E_CONNECTION_LOST'
  | 'E_CONNECTION_REFUSED'
  | 'E_CONNECTION_TIMEOUT'
  /** The peer (or the listener here) does not take what is sent. */
  | 'E_CONNECTION_SLOW'
  | 'E_CONNECTION_UNREACHABLE'
  /** TLS: one side's certificate is missing, expired or not of the other's authority, or TLS is not 1.3. */
  | 'E_CONNECTION_UNTRUSTED'

/** The connection is over, and why. */
export class ConnectionError extends EdgewiseError {
  declare readonly code: ConnectionCode
  /** The code that the peer gave where it refused, e.g. `E_WIRE_VERSION`. */
  readonly peerCode: string | null

  constructor(
    code: ConnectionCode,
    message: string,
    options: { cause?: unknown; peerCode?: string | null } = {},
  ) {
    super(code, message, { cause: options.cause })
    this.peerCode = options.peerCode ?? null
  }
}
