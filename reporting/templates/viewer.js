"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const status = byId("viewer-status");
  try {
    const packed = Uint8Array.from(atob(byId("viewer-code").textContent), (c) => c.charCodeAt(0));
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(unpacked).text();
    document.head.append(script);

    const dataset = JSON.parse(byId("viewer-data").textContent);
    const warnings = new Chemiscope.Warnings();
    const config = { meta: "viewer-meta", structure: "viewer-structure", info: "viewer-info" };
    const viewer = await Chemiscope.StructureVisualizer.load(config, dataset, warnings);
    status.hidden = true;
    // One view is enough here: of the grid's tools only the menu and the picture button stay.
    const tools = document.createElement("style");
    tools.textContent = '.chsp-viewer-action-button:not([style*="90px"]) { display: none !important; }';
    byId("viewer-structure").firstElementChild?.shadowRoot?.append(tools);

    const buttons = byId("viewer-choices").querySelectorAll("button");
    const show = async (index) => {
      await viewer.structure.show({ structure: index, environment: index });
      buttons.forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.index) === index)));
    };
    buttons.forEach((b) => b.addEventListener("click", () => show(Number(b.dataset.index))));
  } catch (error) {
    status.hidden = false;
    status.textContent = "The rotatable view needs WebGL and a browser from 2023 or later; the drawing beside it shows the same crystal.";
    console.error(error);
  }
})();
