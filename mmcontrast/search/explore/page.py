"""The page: boxes on the left, answers on the right, the map in a second tab."""

from __future__ import annotations

from typing import Any

from mmcontrast.errors import SearchError
from mmcontrast.search.explore.cards import CSS, note
from mmcontrast.search.explore.embedding_map import methods
from mmcontrast.search.explore.explorer import Explorer

HINT = "Type what you look for, drop a picture or record a sound; then press Search."


def build_page(explorer: Explorer) -> Any:
    """The page as gradio Blocks."""
    import gradio

    searcher = explorer.searcher
    about = searcher.index.about
    media = [name for name in ("image", "audio") if name in about.towers]

    def ask(
        texts: str, also: str, without: str, rows: str, image: Any, audio: Any, weight: float, modality: str,
        count: float, hybrid: bool,
    ) -> str:  # fmt: skip
        return explorer.answer(
            texts=texts, also=also, without=without, rows=rows, image=image, audio=audio, text_weight=weight,
            modality=modality, count=int(count), hybrid=hybrid,
        )  # fmt: skip

    with gradio.Blocks(title="mmcontrast explore", analytics_enabled=False) as page:
        names = ", ".join(f"{source['name']} ({source['rows']:,} rows)" for source in about.sources)
        gradio.Markdown(f"## mmcontrast explore\n{names}; {about.kind} index of {about.model}")
        with gradio.Tab("Search"), gradio.Row():
            with gradio.Column(scale=1, min_width=320):
                texts = gradio.Textbox(label="Find", lines=2, placeholder="one caption a line; several are averaged")
                button = gradio.Button("Search", variant="primary")
                modality = gradio.Radio(
                    list(searcher.index.modalities), value=searcher.default_modalities()[0], label="In"
                )
                image = gradio.Image(label="A picture", type="pil", height=200, visible="image" in media)
                audio = gradio.Audio(label="A sound", type="numpy", visible="audio" in media)
                weight = gradio.Slider(0, 4, value=1, step=0.1, label="Weight of the text beside pictures and sounds")
                also = gradio.Textbox(label="And", lines=1)
                without = gradio.Textbox(label="Not", lines=1)
                rows = gradio.Textbox(label="Like rows", lines=1, placeholder="image:KEY or audio:KEY")
                hybrid = gradio.Checkbox(label="Words as well (BM25)", visible=about.has_words)
                count = gradio.Slider(1, 60, value=12, step=1, label="Answers")
            with gradio.Column(scale=3):
                found = gradio.HTML(note(HINT), elem_id="answers")
        with gradio.Tab("Map") as map_tab:
            method = gradio.Radio(list(methods()), value=methods()[0], label="Onto the plane by")
            drawing = gradio.HTML(elem_id="map")
        inputs = [texts, also, without, rows, image, audio, weight, modality, count, hybrid]
        button.click(ask, inputs, found, api_name="ask")
        for box in (also, without, rows):
            box.submit(ask, inputs, found, api_visibility="private")
        map_tab.select(explorer.map, method, drawing, api_name="map")
        method.change(explorer.map, method, drawing, api_visibility="private")
    return page


def serve(page: Any, *, port: int | None) -> str:
    """Serve on this machine alone, in a thread; return the address.  Nothing is fetched from anywhere, no font either.

    Args:
        port: the first free one from 7860 on if None.

    Raises:
        SearchError: the port is taken.
    """
    import gradio

    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    try:
        address: str = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            theme=theme,
            css=CSS,
            prevent_thread_lock=True,
        )[1]
    except OSError as error:
        raise SearchError(f"the page cannot be served: {error}") from error
    return address
