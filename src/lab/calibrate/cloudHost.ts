import type { Clock } from '../../core/clock.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../run/executor/cloud.ts'
import { checkHello, type HelloPayload } from '../../run/executor/hello.ts'
import type { Execution } from '../../run/executor/open.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { listen, type WireServer } from '../../run/wire/server.ts'
import { HoldingConnection } from './counting.ts'
import type { CloudProcess } from './types.ts'

/** Options of the calibration's cloud process. */
interface CloudHostOptions {
  readonly model: ModelSpec
  readonly execution: Execution
  readonly greeting: HelloPayload
  readonly clock: Clock
  /** Must be loopback unless `insecureNetwork`. */
  readonly host: string
  /** Allows plaintext between the network namespaces of a closed test. */
  readonly insecureNetwork?: boolean
}

/** Opens the cloud of a calibration: a normal cloud whose reports are held back while requests are timed. */
export async function openCloudHost(options: CloudHostOptions): Promise<CloudProcess> {
  const { model, execution, greeting, clock, host, insecureNetwork = false } = options
  const connections: HoldingConnection[] = []
  let held = false
  const server: WireServer = await listen({
    host,
    port: 0,
    clock,
    insecureNetwork,
    // Without heartbeats, so that only the measured frames cross the link.
    limits: { heartbeatSeconds: null },
    greet: (peer) => {
      const { mismatch } = checkHello(peer, greeting)
      return mismatch === null ? { welcome: greeting } : { refuse: { code: 'E_MODEL', message: mismatch } }
    },
    onConnection: (inner) => {
      const connection = new HoldingConnection(inner)
      connection.hold(held)
      connections.push(connection)
      new CloudExecutor(connection, {
        model,
        runner: execution.runner,
        clock,
        ...CLOUD_DEFAULTS,
        loadSeconds: null,
      })
    },
  })
  return {
    address: () => Promise.resolve({ host: server.address, port: server.port }),
    holdReports: (hold) => {
      held = hold
      for (const connection of connections) connection.hold(hold)
      return Promise.resolve()
    },
    close: async () => {
      await server.close()
      await execution.close()
    },
  }
}
