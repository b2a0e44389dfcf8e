import { spawnSync } from 'node:child_process'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'tsdown'
import ts from 'typescript'
import { afterAll, beforeAll, expect, test } from 'vitest'
import configs from '../../../tsdown.config.ts'
import { openParityEngines } from '../../../src/policy/bundle/verify.ts'
import { exportBundle } from '../../../src/policy/bundle/export.ts'
import { openBundle } from '../../../src/policy/controller/edge.ts'
import { problemOf, scratch, sourceOf } from '../bundleSupport.ts'

const folder = scratch()
const out = folder.path('device')
const bundle = folder.path('bundle')

/** Builds what an edge device loads, as the package does, into a folder without node_modules; and a bundle for it. */
beforeAll(async () => {
  const edge = configs.find(({ entry }) => Object.keys(entry as object).includes('edge'))
  expect(edge).toBeDefined()
  const cwd = resolve(import.meta.dirname, '../../..')
  await build({ ...edge, config: false, cwd, outDir: out })
  const { engines } = await openParityEngines()
  const sizes = { random: 50, walks: 10, ties: 10 }
  await exportBundle(sourceOf(problemOf('tiny')), bundle, engines, { sizes })
  for (const engine of engines) await engine.close()
})
afterAll(() => folder.remove())

/** Every module a text imports or requires by name, statically or not; what is computed is reported as such. */
function importsOf(text: string): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      found.push((node.moduleSpecifier as ts.StringLiteral).text)
    } else if (ts.isCallExpression(node)) {
      const callee = node.expression.getText()
      const loads = node.expression.kind === ts.SyntaxKind.ImportKeyword || /^(__)?require\d*$/.test(callee)
      const [argument] = node.arguments
      if (loads)
        found.push(ts.isStringLiteralLike(argument) ? argument.text : `computed: ${argument.getText()}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile('x.js', text, ts.ScriptTarget.Latest, true))
  return found
}

const foreign = (names: readonly string[]): string[] =>
  names.filter((name) => {
    if (name.startsWith('node:')) return !builtinModules.includes(name.slice(5))
    return name !== 'onnxruntime-node' && name !== 'onnxruntime-web'
  })

test('an edge device loads one file that imports Node and ONNX Runtime alone', () => {
  expect(readdirSync(out)).toEqual(['edge.js'])
  const imports = importsOf(readFileSync(join(out, 'edge.js'), 'utf8'))
  expect(imports).toContain('node:fs')
  expect(imports).toContain('onnxruntime-node')
  expect(foreign(imports)).toEqual([])
})

test('the check sees what it must', () => {
  const text = `import 'zod'\nexport * from './a.js'\nawait import(name)\nrequire('yaml')\nimport 'node:fs'`
  expect(foreign(importsOf(text))).toEqual(['zod', './a.js', 'computed: name', 'yaml'])
})

test('that file decides with nothing but Node beside it, as the sources do', async () => {
  const conditions = { upMbps: 5, downMbps: 20, rttMs: 40, promptTokens: 50, outputTokens: 20 }
  const script = join(folder.path('device'), 'decide.mjs')
  const lines = [
    `import { openBundle } from ${JSON.stringify(pathToFileURL(join(out, 'edge.js')).href)}`,
    `const bundle = await openBundle(process.argv[2])`,
    `const plan = bundle.decide(bundle.situation(${JSON.stringify(conditions)}))`,
    `console.log(JSON.stringify({ ...plan, unitsOnCloud: [...plan.unitsOnCloud], ffn: [...plan.ffn] }))`,
  ]
  writeFileSync(script, lines.join('\n'))
  const { stdout, stderr } = spawnSync(process.execPath, [script, bundle], { encoding: 'utf8', cwd: out })
  expect(stderr).toBe('')
  const here = await openBundle(bundle)
  const plan = here.decide(here.situation(conditions))
  const expected = { ...plan, unitsOnCloud: [...plan.unitsOnCloud], ffn: [...plan.ffn] }
  expect(JSON.parse(stdout)).toEqual(expected)
})
