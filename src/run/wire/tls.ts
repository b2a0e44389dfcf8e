import { isIP } from 'node:net'
import { checkServerIdentity, connect, createServer } from 'node:tls'
import type { PeerCertificate, Server, TLSSocket } from 'node:tls'
import { InputError } from '../../core/errors.ts'
import { ConnectionError } from './errors.ts'

/**
 * Keys and certificates for one side of a mutual TLS handshake, as PEM texts: the authority that signs the peers'
 * certificates, and this side's certificate with its private key.
 */
export interface TlsMaterial {
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Revocation lists, one for every authority in `ca`; absent: revocation is not checked. */
  readonly crl?: string[]
}

const VERSION = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const

/** A server to connect to over TLS. */
interface TlsTarget {
  readonly address: string
  readonly port: number
  /** The name that the server's certificate must contain. */
  readonly serverName: string
  /** Absent: the system's authorities are trusted and no client certificate is sent (a proxy requires none). */
  readonly material?: TlsMaterial
}

/**
 * Opens a TLS connection. It fails if the server's certificate is not issued by our authority or does not name
 * `serverName`.
 */
export function dialTls({ address, port, serverName, material }: TlsTarget): TLSSocket {
  return connect({
    ...VERSION,
    ...(material === undefined ? {} : pick(material)),
    host: address,
    port,
    // TLS does not send IP addresses as server names (RFC 6066, section 3); the certificate is still checked against
    // it.
    servername: isIP(serverName) === 0 ? serverName : '',
    checkServerIdentity: (_host, certificate) => checkServerIdentity(serverName, certificate),
    rejectUnauthorized: true,
  })
}

/**
 * Creates a TLS server that requests client certificates. It does not reject them itself, because Node would then close
 * the socket without a reason: call `clientIdentity` for every socket before reading from it.
 * @param handshakeSeconds timeout of the handshake, after which `tlsClientError` reports ERR_TLS_HANDSHAKE_TIMEOUT
 */
export function createTlsServer(material: TlsMaterial, handshakeSeconds: number): Server {
  return createServer({
    ...VERSION,
    ...pick(material),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: 1000 * handshakeSeconds,
    noDelay: true,
  })
}

/** Runs code that uses keys. Throws InputError for keys that are unusable or do not belong together. */
export function usableKeys<T>(where: string, run: () => T): T {
  try {
    return run()
  } catch (cause) {
    const found = (cause as Error).message
    const expected = 'PEM texts of an authority, a certificate and the private key that belongs to it'
    const problem = { where: `${where}: TLS`, expected, found, remedy: 'make them with `edgewise keys`' }
    throw new InputError(problem, { cause })
  }
}

/** Passes only these fields on, because TLS options may contain many others. */
function pick({ ca, cert, key, crl }: TlsMaterial): TlsMaterial {
  return { ca, cert, key, ...(crl && { crl }) }
}

/**
 * The name in a client's certificate. Throws ConnectionError (E_CONNECTION_UNTRUSTED) if the certificate is not
 * accepted.
 */
export function clientIdentity(socket: TLSSocket): string {
  const certificate = certificateOf(socket)
  if (certificate === null) throw untrusted('the client shows no certificate', 'ERR_NO_CERTIFICATE')
  if (!socket.authorized) {
    const why = String(socket.authorizationError)
    throw untrusted(`the client's certificate is not accepted: ${why}`, why)
  }
  const name = commonName(certificate)
  if (name === null) throw untrusted("the client's certificate has no common name", 'ERR_NO_NAME')
  return name
}

/** The name in the certificate of a verified peer; null before verification, or without a name. */
export function peerIdentity(socket: TLSSocket): string | null {
  const certificate = socket.authorized ? certificateOf(socket) : null
  return certificate === null ? null : commonName(certificate)
}

function certificateOf(socket: TLSSocket): PeerCertificate | null {
  const certificate = socket.getPeerCertificate() as PeerCertificate | undefined
  return certificate?.subject === undefined ? null : certificate
}

function commonName({ subject }: PeerCertificate): string | null {
  // Several common names are an array: then none of them is used.
  const name: unknown = subject.CN
  return typeof name === 'string' && name !== '' ? name : null
}

/** OpenSSL's error codes for a rejected certificate or revocation list, as Node names them. */
const CERTIFICATE_CODE =
  /^(UNABLE_TO_|CERT_|CRL_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_|HOSTNAME_|PATH_LENGTH_|ERR_TLS_CERT)/
/**
 * Handshake errors that a further attempt would meet again. Others, such as a bad checksum, are transmission errors.
 */
const HANDSHAKE_REASON =
  /certificate|unknown.ca|protocol|version.number|http.request|handshake.failure|no.shared|no.suitable/i

/** Converts the error of a failed handshake to a ConnectionError; null for an error that is not from TLS. */
export function trustError(error: NodeJS.ErrnoException): ConnectionError | null {
  const { code = '', message } = error
  const isTls = code === 'EPROTO' || code.startsWith('ERR_SSL_')
  if (CERTIFICATE_CODE.test(code))
    return untrusted(`the peer's certificate is not accepted: ${message}`, code)
  if (!isTls || !HANDSHAKE_REASON.test(`${code} ${message}`)) return null
  return untrusted(`no TLS 1.3 with the peer: ${message.trim()}`, code, error)
}

function untrusted(text: string, found: string, cause?: unknown): ConnectionError {
  const remedy = 'remedy: give both sides certificates of one authority (`edgewise keys`)'
  const message = text.includes(found) ? text : `${text} (${found})`
  return new ConnectionError('E_CONNECTION_UNTRUSTED', `${message}\n  ${remedy}`, { cause })
}
