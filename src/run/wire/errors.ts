import { EdgewiseError } from '../../core/errors.ts'

/** Which rule of the protocol was broken, by received bytes or by a frame to send. */
type WireCode =
  | 'E_WIRE_VERSION'
  | 'E_WIRE_HEADER'
  | 'E_WIRE_TYPE'
  | 'E_WIRE_STATE'
  | 'E_WIRE_SIZE'
  | 'E_WIRE_SEQUENCE'
  | 'E_WIRE_CHECKSUM'
  | 'E_WIRE_PAYLOAD'
  /** More frames or bytes per second, or attempts per minute, than the server accepts. */
  | 'E_WIRE_RATE'

/** Bytes or frames that violate the protocol. The connection must end, because what follows cannot be interpreted. */
export class WireError extends EdgewiseError {
  declare readonly code: WireCode

  constructor(code: WireCode, what: string, expected: string, found: string, cause?: unknown) {
    super(code, `${what}\n  expected: ${expected}\n  found: ${found}`, { cause })
  }
}

/** Why a connection ended. */
type ConnectionCode =
  | 'E_CONNECTION_CLOSED'
  /** The transport broke, or ended without a bye. */
  | 'E_CONNECTION_LOST'
  | 'E_CONNECTION_REFUSED'
  | 'E_CONNECTION_TIMEOUT'
  /** The peer does not read what is sent, or the listener here does not take what arrives. */
  | 'E_CONNECTION_SLOW'
  | 'E_CONNECTION_UNREACHABLE'
  /** TLS: one side's certificate is missing, expired or not issued by the other's authority, or TLS is not 1.3. */
  | 'E_CONNECTION_UNTRUSTED'

/** The connection ended, with the reason. */
export class ConnectionError extends EdgewiseError {
  declare readonly code: ConnectionCode
  /** The peer's code if it refused the connection, e.g. `E_WIRE_VERSION`. */
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
