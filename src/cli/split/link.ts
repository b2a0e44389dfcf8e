import { ConnectionError } from '../../run/wire/errors.ts'
import { connect } from '../../run/wire/client.ts'
import type { Connection } from '../../run/wire/types.ts'
import { checkHello, type HelloPayload } from '../../run/executor/hello.ts'
import { InputError } from '../../core/errors.ts'
import type { Io } from '../io.ts'
import type { TransportMaterial } from '../serve/transportOptions.ts'
import { formatAddress, type Address } from './address.ts'

/** Connects to a cloud that holds the same model. Throws InputError, ConnectionError or WireError. */
export async function connectToCloud(
  address: Address,
  own: HelloPayload,
  modelArgument: string,
  io: Pick<Io, 'clock' | 'signal'>,
  carriage: TransportMaterial = {},
): Promise<Connection> {
  const { clock, signal } = io
  const where = formatAddress(address)
  let connection: Connection
  try {
    connection = await connect({ ...address, ...carriage, greeting: own, clock, signal })
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error
    const remedy = remedyOf(error.code, carriage, `edgewise cloud --model ${modelArgument} --listen ${where}`)
    if (remedy === null) throw error
    const reason = error.message.split('\n')[0]
    throw new ConnectionError(error.code, `no cloud: ${reason}\n  remedy: ${remedy}`, { cause: error })
  }
  const { mismatch } = checkHello(connection.peer, own)
  if (mismatch === null) return connection
  await connection.close()
  throw new InputError({ where: `cloud at ${where}`, expected: 'the same model', found: mismatch })
}

function remedyOf(code: string, { tls }: TransportMaterial, start: string): string | null {
  if (code === 'E_CONNECTION_UNREACHABLE') return `start one: ${start}`
  // A cloud that asks for certificates cuts what does not begin with a handshake.
  if (code === 'E_CONNECTION_LOST' && tls === undefined)
    return 'if it was started with --tls, so must this side be'
  return null
}
