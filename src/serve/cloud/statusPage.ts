import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Gauge, Registry } from 'prom-client'
import { InputError } from '../../core/errors.ts'
import { isLoopback } from '../../core/hosts.ts'

/** A cloud, in figures. */
interface CloudStats {
  readonly isDraining: boolean
  /** Edges that are connected. */
  readonly connections: number
  readonly budget: { readonly sequences: number; readonly usedBytes: number; readonly limitBytes: number }
  readonly loadedBytes: () => number
}

/** Health and metrics of a cloud, for whoever looks after it: loopback only, nothing of any request. */
interface StatusServer {
  readonly port: number
  close(): Promise<void>
}

/** Serves health, readiness and metrics of a cloud over HTTP, on loopback. */
export async function serveStatus(
  { host, port }: { readonly host: string; readonly port: number },
  cloud: CloudStats,
): Promise<StatusServer> {
  if (!isLoopback(host)) {
    throw new InputError({
      where: `--status ${host}`,
      expected: 'a loopback address: metrics have no credential',
      found: host,
      remedy: 'say 127.0.0.1 and let an agent on this machine collect them',
    })
  }
  const registry = metricsOf(cloud)
  const server = createServer((request, response) => {
    void answer(request.url ?? '/', cloud, registry, response)
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

async function answer(
  path: string,
  cloud: CloudStats,
  registry: Registry,
  response: ServerResponse,
): Promise<void> {
  const say = (status: number, body: string, type = 'text/plain'): void => {
    response.writeHead(status, { 'content-type': type }).end(body)
  }
  if (path === '/healthz') say(200, 'alive\n')
  else if (path === '/readyz') say(cloud.isDraining ? 503 : 200, cloud.isDraining ? 'draining\n' : 'ready\n')
  else if (path === '/metrics') say(200, await registry.metrics(), registry.contentType)
  else say(404, 'expected /healthz, /readyz or /metrics\n')
}

function metricsOf(cloud: CloudStats): Registry {
  const registry = new Registry()
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read())
      },
    })
  }
  gauge('edgewise_cloud_connections', 'Edges that are connected', () => cloud.connections)
  gauge('edgewise_cloud_sequences', 'Open requests of all edges', () => cloud.budget.sequences)
  gauge(
    'edgewise_cloud_session_bytes',
    'K/V caches and messages held for requests',
    () => cloud.budget.usedBytes,
  )
  gauge('edgewise_cloud_session_limit_bytes', 'What they may hold together', () => cloud.budget.limitBytes)
  gauge('edgewise_cloud_resident_bytes', 'Weights in memory', cloud.loadedBytes)
  return registry
}
