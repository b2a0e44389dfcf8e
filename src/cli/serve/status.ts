import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Gauge, Registry } from 'prom-client'
import { InputError } from '../../base/errors.ts'
import { isLoopback } from '../../wire/hosts.ts'
import type { Address } from '../split/address.ts'
import type { Hall } from './hall.ts'

/** Health and metrics of a cloud, for whoever looks after it: loopback only, nothing of any request. */
export interface StatusServer {
  readonly port: number
  close(): Promise<void>
}

export async function serveStatus(
  { host, port }: Address,
  hall: Hall,
  loadedBytes: () => number,
): Promise<StatusServer> {
  if (!isLoopback(host)) {
    throw new InputError({
      where: `--status ${host}`,
      expected: 'a loopback address: metrics have no credential',
      found: host,
      remedy: 'say 127.0.0.1 and let an agent on this machine collect them',
    })
  }
  const registry = metricsOf(hall, loadedBytes)
  const server = createServer((request, response) => {
    void answer(request.url ?? '/', hall, registry, response)
  })
  server.headersTimeout = 10_000
  server.requestTimeout = 10_000
  server.maxConnections = 64
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(path: string, hall: Hall, registry: Registry, response: ServerResponse): Promise<void> {
  const say = (status: number, body: string, type = 'text/plain'): void => {
    response.writeHead(status, { 'content-type': type }).end(body)
  }
  if (path === '/healthz') say(200, 'alive\n')
  else if (path === '/readyz') say(hall.isDraining ? 503 : 200, hall.isDraining ? 'draining\n' : 'ready\n')
  else if (path === '/metrics') say(200, await registry.metrics(), registry.contentType)
  else say(404, 'expected /healthz, /readyz or /metrics\n')
}

function metricsOf(hall: Hall, loadedBytes: () => number): Registry {
  const registry = new Registry()
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      ...{ name, help, registers: [registry] },
      collect() {
        this.set(read())
      },
    })
  }
  gauge('edgewise_cloud_connections', 'Edges that are connected', () => hall.connections)
  gauge('edgewise_cloud_sequences', 'Open requests of all edges', () => hall.budget.sequences)
  gauge(
    'edgewise_cloud_session_bytes',
    'K/V caches and messages held for requests',
    () => hall.budget.usedBytes,
  )
  gauge('edgewise_cloud_session_limit_bytes', 'What they may hold together', () => hall.budget.limitBytes)
  gauge('edgewise_cloud_resident_bytes', 'Weights in memory', loadedBytes)
  return registry
}
