import type { Clock } from '../../core/clock.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../run/executor/cloud.ts'
import { checkHello, type HelloPayload } from '../../run/executor/hello.ts'
import type { Execution } from '../../run/executor/open.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { listen, type WireServer } from '../../run/wire/server.ts'
import { HoldingConnection } from './counting.ts'
import type { CloudProcess } from './types.ts'

export interface CloudHostOptions {
  readonly model: ModelSpec
  readonly execution: Execution
  readonly greeting: HelloPayload
  readonly clock: Clock
  /** Loopback unless `insecureNetwork`. */
  readonly host: string
  /** Between the namespaces of a closed test network only. */
  readonly insecureNetwork?: boolean
}

/** The cloud of a calibration: a usual one, but for its reports, which wait until nobody is timed. */
export async function openCloudHost(options: CloudHostOptions): Promise<CloudProcess> {
  const { model, execution, greeting, clock, host, insecureNetwork = false } = options
  const connections: HoldingConnection[] = []
  let held = false
  const server: WireServer = await listen({
    ...{ host, port: 0, clock, insecureNetwork },
    // Nothing but what is measured goes over the link.
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
        ...{ model, runner: execution.runner, clock, ...CLOUD_DEFAULTS, loadSeconds: null },
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
