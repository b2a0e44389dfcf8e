import { dirname, resolve } from 'node:path'
import { rolldown } from 'rolldown'

/** `import program from './x.ts?thread'` gives module x and all that it imports as the text of one CommonJS program. */
const QUERY = '?thread'

/**
 * Builds what runs in a thread of its own into the bundle that starts it, with `new Worker(program, { eval: true })`. So a
 * worker is a module like any other, with types and imports, and yet the device's program stays one file; and it starts the
 * same from a bundle as under vitest, where Node 20 could not load a .ts file into a thread. tsdown and vitest both use it.
 */
export function threadPrograms() {
  return {
    name: 'thread-programs',
    enforce: 'pre' as const,
    resolveId(source: string, importer: string | undefined): string | null {
      if (!source.endsWith(QUERY) || importer === undefined) return null
      return resolve(dirname(importer), source)
    },
    async load(id: string): Promise<{ code: string; moduleType: 'js' } | null> {
      if (!id.endsWith(QUERY)) return null
      const input = id.slice(0, -QUERY.length)
      const bundle = await rolldown({ input, platform: 'node', external: /^node:/, tsconfig: false })
      const { output } = await bundle.generate({ format: 'cjs', codeSplitting: false })
      await bundle.close()
      return { code: `export default ${JSON.stringify(output[0].code)}`, moduleType: 'js' }
    },
  }
}
