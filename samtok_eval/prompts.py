"""Every prompt template, with its origin.

In: the words of a sample. Out: the text of one user turn. A template never changes under its id; a new wording gets a
new id, because the id is part of every signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

from samtok_eval.sample import Part


@dataclass(frozen=True)
class Prompt:
    """One template."""

    id: str
    template: str
    origin: str

    def __call__(self, **words: str) -> str:
        """The text with its words filled in."""
        return self.template.format(**words)

    def parts(self, **parts: Part) -> tuple[Part, ...]:
        """The text with masks and views in their places."""
        found: list[Part] = []
        for text, name, _, _ in Formatter().parse(self.template):
            found += ([text] if text else []) + ([parts[name]] if name else [])
        return tuple(found)


SEGMENT_PHRASE = Prompt(
    "segment-phrase",
    "Please segment {phrase} in this image.",
    "SAMTok evaluation of GRES and RefCOCO, projects/samtok/evaluation/qwen3vl/qwen3vl_gres_eval.py:366",
)
_THINK_FIRST = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think><answer> answer here </answer>"
)
"""What the released RL scripts put behind a question."""
_TRAINED = (
    "the wording of rl/format_prompt/r1v.jinja, with which thinking checkpoints are trained; no released script asks "
)
SEGMENT_PHRASE_THINKING = Prompt(
    "segment-phrase-rl",
    f"{SEGMENT_PHRASE.template} {_THINK_FIRST}",
    "SAMTok evaluation of GRES after RL, projects/samtok/evaluation/qwen25vl_rl/qwen25vl_gres_eval.py:415",
)
NAME_REGION = Prompt(
    "name-region",
    "What is the category of {region}? Using only one word or phrase.",
    "Osprey, osprey/eval/lvis_paco_eval.py, with the words of a mask for its marks; no SAMTok script asks it",
)
NO_TARGET_ANSWER = "No target."
"""What SAMTok checkpoints are trained to say when nothing matches (projects/samtok/datasets/tokenize_2d_mask)."""
DESCRIBE_WITH_MASKS = Prompt(
    "gcg-brief",
    # Five blanks: a line continuation in the released scripts, kept because checkpoints were measured with it.
    "Could you please give me a brief description of the image? Please respond with interleaved     segmentation masks "
    "for the corresponding parts of the answer.",
    "SAMTok evaluation of GCG, projects/samtok/evaluation/qwen3vl/qwen3vl_gcg_eval.py:80",
)
DESCRIBE_WITH_MASKS_ONE_BLANK = Prompt(
    "gcg-brief-one-blank",
    DESCRIBE_WITH_MASKS.template.replace("     ", " "),
    "CycleGRPO evaluation of GCG, evaluation/gcg/qwen3vl_gcg_eval.py:80, which made that paper's SAMTok rows",
)
DETAIL_WITH_MASKS = Prompt(
    "gcg-detailed",
    "Could you please give me a detailed description of the image? Please respond with interleaved     segmentation "
    "masks for the corresponding parts of the answer.",
    "GLaMM evaluation of GCG, eval/gcg/infer.py",
)
DETAIL_WITH_MASKS_DEMO = Prompt(
    "gcg-demo",
    "Could you please give me a detail description of the image? Please respond with interleaved segmentation masks "
    "for the corresponding parts of the answer.",
    "SAMTok README and demo",
)
DESCRIBE_WITH_MASKS_RL = Prompt(
    "gcg-brief-rl",
    f"{DESCRIBE_WITH_MASKS.template.removesuffix('.')} and highlight the phrases. {_THINK_FIRST}",
    "SAMTok evaluation of GCG after RL, projects/samtok/evaluation/qwen25vl/qwen25vl_gcg_eval.py:277",
)
CAPTION_REGION = Prompt(
    "caption-region",
    "Given a detailed description of this region {region}.",
    "SAMTok captioning, projects/samtok/evaluation/qwen3vl/qwen3vl_dam_infer.py:247",
)
CAPTION_REGION_ZOOM = Prompt(
    "caption-region-zoom",
    "Given a detailed description of this region {region}. Zoom in with the perspective as {view}, {region_in_view}.",
    "SAMTok captioning, projects/samtok/evaluation/qwen3vl/qwen3vl_dam_infer.py:216,242",
)
JUDGE_DESCRIPTION = Prompt(
    "dlc-judge",
    "Answer the multiple-choice question based on the text description of an object in an image. You need to follow "
    "these rules:\n1. Do not output any reasoning. Do not perform correction. Please output exactly one answer from "
    "the choices for each question. Do not repeat the question.\n2. There is no need for exact matching. Please choose "
    "the closest option based on the description.\n\nThe description is:\n{description}\n\nFrom the description above, "
    "please answer the following question with one of the choices:\n{question}\n{choices}",
    "DLC-Bench, evaluation/eval_model_outputs.py of describe-anything",
)
DESCRIBE_RELATION = Prompt(
    "gar-detail",
    "1. Describe {subject} in detail 2. Describe the relationship between {subject} and {object}.",
    "SAMTok evaluation of GAR-Bench, projects/vlm/tokenmask/evaluation/qwen25vl_gar_detail_infer.py of CycleGRPO",
)
DESCRIBE_RELATION_GAR = Prompt(
    "gar-detail-official",
    "Describe {subject} in detail, including the relationship with {object}.",
    "GAR-Bench, evaluation/GAR-Bench/inference.py of Grasp-Any-Region",
)
ANSWER_ABOUT_REGIONS = Prompt(
    "gar-simple", "{question}", "GAR-Bench, evaluation/GAR-Bench/inference.py of Grasp-Any-Region"
)
JUDGE_RELATION = Prompt(
    "gar-detail-judge",
    "\nYou are a language model expert. Your task is to evaluate the following model output based on the "
    "provided images, and subject, object, and relationship.\n\n- subject_name: {subject_name}\n- object_name: "
    "{object_name}\n- predicate_name: {predicate_name}\n- model_output: {model_output}\n\nTask:\n1. Check if the "
    "model output describes the {subject_name}. \n2. Check if the model output conveys the relationship between "
    "{subject_name} and {object_name} related to {predicate_name}.\n\nNote:\n- The first task only requires "
    "checking if {subject_name} is mentioned in the model output.\n- The second task asks if the output conveys "
    "a relationship related to {predicate_name} between {subject_name} and {object_name}, even if different "
    'words or phrases are used.\n- If both tasks are successfully completed, return "True" Otherwise, return '
    '"False"\n- Do not output any reasoning. Do not perform correction. Please output only just one "True" or '
    '"False".\n\n',
    "GAR-Bench, evaluation/GAR-Bench/eval_detailed.py of Grasp-Any-Region",
)
JUDGE_ANSWER = Prompt(
    "gar-simple-judge",
    "\nYou are a language model expert. Your task is to evaluate the correctness of the model's output based on "
    'the provided ground truth and given masks.\n\n- Ground truth: "{answer}"\n- Model Output: '
    '"{model_output}"\n\nPlease determine if the model\'s output conveys the same meaning as the provided ground '
    'truth. If the output is semantically correct, return "True", otherwise return "False".\n\nAttention:\n1. '
    "The ground truth and model output do not need to match exactly, as long as they convey the same meaning. "
    "Synonyms and different phrasings are acceptable.\n\n2. Do not output any reasoning. Do not perform "
    'correction. Please output only "True" or "False".\n\n',
    "GAR-Bench, evaluation/GAR-Bench/eval_simple.py of Grasp-Any-Region",
)
DESCRIBE_INTERACTION = Prompt(
    "ferret",
    "What is the interaction between the object {region} and its surroundings?",
    "SAMTok evaluation of Ferret-Bench, projects/samtok/evaluation/qwen3vl/qwen3vl_ferret_infer.py:246",
)
ANSWER_ABOUT_REGION = Prompt("ferret-question", "{question}", "Ferret-Bench, box_refer_caption.json of Osprey")
DESCRIBE_IN_FRAMES = Prompt(
    "describe-in-frames",
    "Please give a detailed description of the highlighted object {regions} in the video.",
    "VideoRefer-Bench-D, videorefer/eval/inference_videorefer_d_bench.py, mask words in place of its mark",
)
JUDGE_PAIR_ROLE = "You are a helpful and precise assistant for checking the quality of the answer."
JUDGE_PAIR = Prompt(
    "ferret-judge",
    "[Context]\\{context}\n\n[Question]\n{question}\n\n[Assistant 1]\n{answer}\n\n[End of Assistant 1]\n\n"
    "[Assistant 2]\n{model_output}\n\n[End of Assistant 2]\n\n[System]\nWe would like to request your feedback "
    "on the performance of two AI assistants in response to the user question displayed above. The user asks "
    "the question about specific region of an image. For your reference, the visual content in the image is "
    "represented with five descriptive sentences describing the same image. In addition, specific object "
    "locations within the image are given, along with detailed coordinates. These coordinates are in the form "
    "of bounding boxes, represented as (x1, y1, x2, y2) with floating numbers ranging from 0 to 1. These "
    "values correspond to the top left x, top left y, bottom right x, and bottom right y. Also, the "
    "relationships between pairs of objects are provided, in the format of object -> relationship -> subject, "
    "where the object/subject are indexed by object id from previous object lists as well as the object names. "
    "Also, several region description are given, each describing a box region of image, with detailed "
    "coordinates. \nPlease rate the spatial correspondence, helpfulness, relevance, accuracy, level of details "
    "of their responses. Each assistant receives an overall score on a scale of 1 to 10, where a higher score "
    "indicates better overall performance.\nPlease first output a single line containing only two values "
    "indicating the scores for Assistant 1 and 2, respectively. The two scores are separated by a space.\nIn "
    "the subsequent line, please provide a comprehensive explanation of your evaluation, avoiding any "
    "potential bias and ensuring that the order in which the responses were presented does not affect your "
    "judgment.\n\n",
    "Ferret-Bench, evaluation/Ferret-Bench/eval_gpt.py of Grasp-Any-Region",
)
ANSWER_ABOUT_MARKED = Prompt(
    "about-marked-regions",
    "{regions}\n{question}",
    "ours: mask words behind the names that MDVP-Bench's questions have for regions, and the question",
)
JUDGE_MARKED = Prompt(
    "mdvp-judge",
    "[Context]\\{context}\n\n[Question]\n{question}\n\n[Assistant 1]\n{answer}\n\n[End of Assistant 1]\n\n"
    "[Assistant 2]\n{model_output}\n\n[End of Assistant 2]\n\n[System]\nWe would like to request your feedback "
    "on the performance of two AI assistants in response to the user question displayed above. The user's "
    "question is based on an image that is provided directly. Regions indicating specific areas of interest are "
    "drawn on the image, guiding the user's question. Regions are associated with detailed coordinates in the "
    "form of bounding boxes, represented as (x1, y1, w, h) with floating numbers ranging from 0 to 1. These "
    "values correspond to the top left x, top left y, width, and height of bounding boxes. \nPlease rate the "
    "helpfulness, relevance, accuracy, level of details of their responses. Each assistant receives an overall "
    "score on a scale of 1 to 10, where a higher score indicates better overall performance.\nPlease first "
    "output a single line containing only two values indicating the scores for Assistant 1 and 2, respectively. "
    "The two scores are separated by a space.\nIn the subsequent line, please provide a comprehensive "
    "explanation of your evaluation, avoiding any potential bias and ensuring that the order in which the "
    "responses were presented does not affect your judgment.\n\n",
    "MDVP-Bench, evaluation/MDVP-Bench/{eval_gpt.py,annotations/rule.json} of Grasp-Any-Region",
)
JUDGE_ASPECTS_ROLE = (
    "You are an advanced intelligent chatbot specialized in evaluating the factual accuracy of generative "
    "outputs related to object-based video descriptions.\nYour primary task is to meticulously compare the "
    "predicted answer with the correct answer and assess their factual consistency. To accomplish this, you "
    "will evaluate the descriptions across four key dimensions:\n1. Subject Correspondence: Assess whether the "
    "subject of the input description accurately matches the subject indicated in the ground truth "
    "description.\n2. Appearance Description: Evaluate the accuracy of the appearance details, including "
    "color, shape, size, texture, and any other relevant visual attributes.\n3. Temporal Description: Analyze "
    "whether the depiction of the object's motion aligns with the actual movements described in the correct "
    "answer.\n4. Hallucination Detection: Identify any discrepancies by determining if the description "
    "includes facts, actions, or elements that do not exist in reality, such as imaginative interpretations or "
    "incorrect inferences.\nPlease assign a score for each of these four dimensions, using an integer from 0 "
    "to 5, where 5 indicates a perfect match and 0 signifies no relevance at all. Accompany your assessments "
    "with brief explanations to clarify your scoring rationale.\n### OUTPUT FORMAT(EXAMPLE)\n1. Subject "
    "Correspondence: 5\\nExplanation:\xa0xxx\n2. Appearance Description: 4\\nExplanation:\xa0xxx\n3. Temporal "
    "Description: 5\\nExplanation:\xa0xxx\n4. Hallucination Detection: 3\\nExplanation:\xa0xxx"
)
JUDGE_ASPECTS = Prompt(
    "videorefer-judge",
    "##Correct answer: {caption}\n##Predicted answer: {model_output}\n",
    "VideoRefer-Bench-D, videorefer_videollama3/evaluation/videorefer_bench_d/1.eval_gpt.py",
)
CHOOSE_OPTION = Prompt(
    "choose-option",
    "Question: {question}\nOptions:\n{options}\nAnswer with the correct option's letter directly.",
    "GAR-Bench, evaluation/GAR-Bench/inference.py of Grasp-Any-Region",
)
CHOOSE_LETTER = Prompt(
    "choose-letter",
    "{question} {options}. Answer with the option's letter from the given choices directly.",
    "VideoRefer-Bench-Q, videorefer/eval/inference_videorefer_q_bench.py",
)
SCENE_GRAPH = Prompt(
    "scene-graph",
    "Generate a scene graph for this image. Identify the main objects and describe their relationships to each other.",
    "SAMTok demo, projects/samtok/gradio app.py:686",
)
SCENE_GRAPH_CANDIDATES = Prompt(
    "scene-graph-candidates",
    "CANDIDATE CATEGORIES: \n{{{categories}}}\nCANDIDATE PREDICATES: \n{{{predicates}}}\nCreate a scene graph by "
    "identifying triplets of <subject, predicate, object>. Focus on the most prominent interactions.",
    "SAMTok evaluation of PSG, projects/vlm/tokenmask/evaluation/psg/infer_qwen25vl.py of CycleGRPO",
)
FIND_DESCRIBED = Prompt(
    "find-described",
    "Please carefully check the image and detect the object this sentence describes: {caption}",
    "SAMTok evaluation of GroundingSuite, projects/samtok/evaluation/qwen3vl/qwen3vl_groundingsuite_infer.py:173",
)
SEGMENT_IMPLIED = Prompt(
    "segment-implied",
    "{question} Please output segmentation mask.",
    "SAMTok evaluation of ReasonSeg and MMR, projects/vlm/tokenmask/evaluation/qwen25vl_reasonseg_eval.py of CycleGRPO",
)
SEGMENT_NAMED = Prompt(
    "segment-named",
    "Can you segment the {name} in this image?",
    "SAMTok evaluation of ReasonSeg, where the query is a name and no sentence",
)
FIND_DESCRIBED_THINKING = Prompt(
    "find-described-rl", f"{FIND_DESCRIBED.template} {_THINK_FIRST}", f"{_TRAINED}GroundingSuite so"
)
SEGMENT_IMPLIED_THINKING = Prompt(
    "segment-implied-rl", f"{SEGMENT_IMPLIED.template} {_THINK_FIRST}", f"{_TRAINED}ReasonSeg or MMR so"
)
SEGMENT_NAMED_THINKING = Prompt(
    "segment-named-rl", f"{SEGMENT_NAMED.template} {_THINK_FIRST}", f"{_TRAINED}ReasonSeg so"
)
CAPTION_ONE_REGION = Prompt(
    "caption-one-region",
    "Could you please give me a detailed description of the following region? {region}.",
    "CycleGRPO training, verl/utils/dataset.py:218, for one of several regions",
)
GROUND_CAPTION = Prompt(
    "ground-caption",
    "All spatial relationships are defined from the viewer's perspective, where 'front' means closer to the viewer and "
    "'back' means farther from the viewer. Please provide the segmentation mask of the object the following statement "
    # Eight blanks before the second and third line, as the released code indents them.
    "describes:\n        {caption}\n        Ensure that all details mentioned about the object are accurate. If a "
    "matching object is found, provide its segmentation mask in the format "
    "`<|mt_start|><|mt_xxxx|><|mt_xxxx|><|mt_end|>`. If no matching object is found, output null.",
    "CycleGRPO training, verl/utils/dataset.py:429, the question by which a caption is checked",
)
