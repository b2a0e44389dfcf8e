import { isIP } from 'node:net'
import { checkServerIdentity, connect, createServer } from 'node:tls'
import type { PeerCertificate, Server, TLSSocket } from 'node:tls'
import { InputError } from '../../core/errors.ts'
import { ConnectionError } from './errors.ts'

/**
 * What one side of a mutual TLS handshake needs, as PEM texts: the authority that signs the peers' certificates,
 * and this side's own certificate with its private key. Whoever reads the files is elsewhere.
 */
export interface TlsMaterial {
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** Lists of revoked certificates, one of every authority in `ca`; left out: none is looked for. */
  readonly crl?: string[]
}

const VERSION = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const

export interface TlsTarget {
  readonly address: string
  readonly port: number
  /** What the server's certificate must name. */
  readonly serverName: string
  /** Left out: the authorities of the system, and no certificate of our own (a proxy asks for none). */
  readonly material?: TlsMaterial
}

/** Begins a TLS connection; a server that is not of our authority, or not `serverName`, breaks it. */
export function dialTls({ address, port, serverName, material }: TlsTarget): TLSSocket {
  return connect({
    ...VERSION,
    ...(material === undefined ? {} : pick(material)),
    host: address,
    port,
    // An address is no name that TLS could ask for (RFC 6066, section 3), but the certificate is held to it.
    servername: isIP(serverName) === 0 ? serverName : '',
    checkServerIdentity: (_host, certificate) => checkServerIdentity(serverName, certificate),
    rejectUnauthorized: true,
  })
}

/**
 * A server that asks for certificates. It does not refuse by itself, for Node would then cut the socket without a
 * word: every socket's `clientIdentity` has to be asked for before anything is read from it.
 * @param handshakeSeconds after them `tlsClientError` tells of ERR_TLS_HANDSHAKE_TIMEOUT
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

/** Runs what takes keys. Throws InputError for some that are none, or do not belong together. */
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

/** Nothing else than these gets into TLS's options, whatever object they came in. */
function pick({ ca, cert, key, crl }: TlsMaterial): TlsMaterial {
  return { ca, cert, key, ...(crl && { crl }) }
}

/** The name in a client's certificate. Throws ConnectionError (E_CONNECTION_UNTRUSTED) where that is not ours. */
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

/** The name in the certificate of a peer that was verified; null before that, and where there is none. */
export function peerIdentity(socket: TLSSocket): string | null {
  const certificate = socket.authorized ? certificateOf(socket) : null
  return certificate === null ? null : commonName(certificate)
}

function certificateOf(socket: TLSSocket): PeerCertificate | null {
  const certificate = socket.getPeerCertificate() as PeerCertificate | undefined
  return certificate?.subject === undefined ? null : certificate
}

function commonName({ subject }: PeerCertificate): string | null {
  // Several names are an array: then none of them is the one.
  const name: unknown = subject.CN
  return typeof name === 'string' && name !== '' ? name : null
}

/** OpenSSL's reasons to reject a certificate or a list of revoked ones, as Node names them. */
const CERTIFICATE_CODE =
  /^(UNABLE_TO_|CERT_|CRL_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_|HOSTNAME_|PATH_LENGTH_|ERR_TLS_CERT)/
/** Reasons of a handshake that no second attempt changes. Others, such as a wrong checksum, are the line's. */
const HANDSHAKE_REASON =
  /certificate|unknown.ca|protocol|version.number|http.request|handshake.failure|no.shared|no.suitable/i

/** The error of a failed handshake as ours; null where `error` is the line's and not of TLS. */
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
