import { formatAddress, type Address } from '../../core/address.ts'
import type { Clock } from '../../core/clock.ts'
import { InputError } from '../../core/errors.ts'
import type { Precision } from '../../model/precision.ts'
import { PrecisionError } from '../../plan/profile/precision.ts'
import { connect } from '../wire/client.ts'
import { ConnectionError } from '../wire/errors.ts'
import type { TlsMaterial } from '../wire/tls.ts'
import type { Connection } from '../wire/types.ts'
import { checkHello, type HelloPayload } from './hello.ts'

/** TLS and WebSocket between edge and cloud; neither: plain TCP, on loopback alone. */
export interface TransportOptions {
  readonly tls?: TlsMaterial
  readonly webSocket?: { readonly path: string; readonly token?: string }
}

interface ConnectToCloudOptions {
  readonly address: Address
  readonly transport: TransportOptions
  readonly greeting: HelloPayload
  /** What the cloud must run, since decisions rest on figures of it; null: any precision will do. Default null. */
  readonly precision?: Precision | null
  /** The model as the user named it, for the remedy where no cloud listens. */
  readonly modelArgument: string
  readonly clock: Clock
  readonly signal: AbortSignal
}

/**
 * Connects to a cloud that holds the same model and, where `precision` says one, runs it. Throws InputError,
 * ConnectionError or WireError.
 */
export async function connectToCloud(options: ConnectToCloudOptions): Promise<Connection> {
  const { address, transport, greeting, precision = null, modelArgument, clock, signal } = options
  const where = formatAddress(address)
  let connection: Connection
  try {
    connection = await connect({ ...address, ...transport, greeting, clock, signal })
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error
    const start = `edgewise cloud --model ${modelArgument} --listen ${where}`
    const remedy = remedyOf(error.code, transport, start)
    if (remedy === null) throw error
    const reason = error.message.split('\n')[0]
    throw new ConnectionError(error.code, `no cloud: ${reason}\n  remedy: ${remedy}`, { cause: error })
  }
  const { greeting: peer, mismatch } = checkHello(connection.peer, greeting)
  if (mismatch === null && (precision === null || peer.precision === precision)) return connection
  await connection.close()
  if (mismatch !== null)
    throw new InputError({ where: `cloud at ${where}`, expected: 'the same model', found: mismatch })
  throw new PrecisionError({
    where: `cloud at ${where}`,
    expected: `${precision}, the precision of the cloud figures that decide`,
    found: peer.precision,
    remedy: `start the cloud with --precision ${precision}, or give its figures at ${peer.precision} with --cloud-profile`,
  })
}

function remedyOf(code: string, { tls }: TransportOptions, start: string): string | null {
  if (code === 'E_CONNECTION_UNREACHABLE') return `start one: ${start}`
  // A cloud that asks for certificates cuts what does not begin with a handshake.
  if (code === 'E_CONNECTION_LOST' && tls === undefined)
    return 'if it was started with --tls, so must this side be'
  return null
}
