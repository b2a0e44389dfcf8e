import { systemClock } from '../../../src/core/clock.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../../src/run/executor/cloud.ts'
import { EdgeExecutor } from '../../../src/run/executor/edge.ts'
import { fixedLink } from '../../../src/run/executor/link.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import { connect } from '../../../src/run/wire/client.ts'
import { listen } from '../../../src/run/wire/server.ts'
import { openSide } from './support.ts'

export interface SocketSplit {
  readonly edge: EdgeExecutor
  close(): Promise<void>
}

interface Address {
  readonly host: string
  readonly port: number
}

/** Both sides in one process, each with a worker, over loopback sockets and what `between` puts in the way. */
export async function listenSplit(
  source: WeightSource,
  maxInFlight: number,
  between: (cloud: Address) => Promise<Address>,
): Promise<SocketSplit> {
  const { model } = source
  const clock = systemClock
  const edgeSide = await openSide(source, { engine: 'worker' })
  const cloudSide = await openSide(source, { engine: 'worker', maxBatch: 4 })
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    clock,
    greet: () => ({ welcome: {} }),
    onConnection: (peer) =>
      new CloudExecutor(peer, { model, runner: cloudSide.runner, clock, ...CLOUD_DEFAULTS }),
  })
  const { host, port } = await between({ host: '127.0.0.1', port: server.port })
  const connection = await connect({ host, port, greeting: {}, clock })
  return {
    edge: new EdgeExecutor({
      model,
      runner: edgeSide.runner,
      clock,
      link: fixedLink(connection),
      maxInFlight,
    }),
    close: async () => {
      await connection.close()
      await server.close()
      await edgeSide.close()
      await cloudSide.close()
    },
  }
}
